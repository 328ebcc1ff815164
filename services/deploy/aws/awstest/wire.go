package awstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	ecsschemas "github.com/aws/aws-sdk-go-v2/service/ecs/schemas"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"
)

// operation answers a call of the JSON protocol.
type operation func(body []byte) ([]byte, error)

// refusal is an error that an API answers with.
type refusal struct{ code, message string }

func (r *refusal) Error() string { return r.code + ": " + r.message }

func refuse(code, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// strict decodes a request into the SDK's own type, which has to know every field, and writes its answer while mu is
// held: what is in it goes on changing.
func strict[I any, O smithy.Serializable](c *Cloud, answer func(*I) (O, error)) operation {
	return func(body []byte) ([]byte, error) {
		in := new(I)
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(in); err != nil {
			return nil, refuse("SerializationException", "%v", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		out, err := answer(in)
		if err != nil {
			return nil, err
		}
		text, err := encode(out)
		if err != nil {
			c.t.Errorf("a %T can't be written: %v", out, err)
		}
		return text, nil
	}
}

// The prefixes of X-Amz-Target, by the service that permissions and signatures name.
var services = map[string]string{"AmazonEC2ContainerServiceV20141113": "ecs", "Logs_20140328": "logs", "secretsmanager": "secretsmanager"}

// The versions of the query protocol's services.
var versions = map[string]string{"2015-12-01": "elasticloadbalancing", "2011-06-15": "sts", "2016-11-15": "ec2", "2010-05-08": "iam"}

// serve answers every API.
func (c *Cloud) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		prefix, name, _ := strings.Cut(target, ".")
		c.serveJSON(w, r, services[prefix], name, body)
		return
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.serveQuery(w, r, versions[form.Get("Version")], form, body)
}

func (c *Cloud) serveJSON(w http.ResponseWriter, r *http.Request, service, name string, body []byte) {
	err := c.admit(w, r, service, service+":"+name, body)
	var text []byte
	if err == nil {
		answer := c.operations[service+":"+name]
		if answer == nil {
			err = refuse("UnknownOperationException", "%s", name)
		} else {
			text, err = answer(body)
		}
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if err != nil {
		said, ok := err.(*refusal)
		if !ok {
			said = &refusal{"ServerException", err.Error()}
		}
		w.WriteHeader(statusOf(said.code))
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": said.code, "message": said.message})
		return
	}
	_, _ = w.Write(text)
}

func statusOf(code string) int {
	if strings.HasPrefix(code, "Server") || strings.HasPrefix(code, "Internal") {
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

var protocol = awsjson.New11(ecsschemas.AmazonEC2ContainerServiceV20141113)

// encode writes an output as the SDK's serializer writes an input: the two differ in the header only.
func encode(v smithy.Serializable) ([]byte, error) {
	req := smithyhttp.NewStackRequest().(*smithyhttp.Request)
	req.URL = &url.URL{Scheme: "http", Host: "none", Path: "/"}
	of := smithy.NewOperationSchema(ecsschemas.UpdateService, ecsschemas.UpdateServiceRequest, ecsschemas.UpdateServiceResponse)
	if err := protocol.SerializeRequest(context.Background(), of, v, req); err != nil {
		return nil, err
	}
	return io.ReadAll(req.GetStream())
}

func (c *Cloud) serveQuery(w http.ResponseWriter, r *http.Request, service string, form url.Values, body []byte) {
	action := form.Get("Action")
	var err error
	if action != "AssumeRoleWithWebIdentity" || r.Header.Get("Authorization") != "" {
		err = c.admit(w, r, service, service+":"+action, body)
	} else {
		err = c.pretend(w, service+":"+action)
	}
	var out []byte
	if err == nil {
		out, err = c.answerQuery(service, action, form, c.keyOf(r))
	}
	w.Header().Set("Content-Type", "text/xml")
	if err == nil {
		_, _ = w.Write(out)
		return
	}
	said, ok := err.(*refusal)
	if !ok {
		said = &refusal{"InternalFailure", err.Error()}
	}
	w.WriteHeader(statusOf(said.code))
	one := "<Error><Type>Sender</Type><Code>" + escape(said.code) + "</Code><Message>" + escape(said.message) + "</Message></Error>"
	if service == "ec2" {
		fmt.Fprintf(w, "<Response><Errors>%s</Errors><RequestID>x</RequestID></Response>", one)
		return
	}
	fmt.Fprintf(w, "<ErrorResponse>%s<RequestId>x</RequestId></ErrorResponse>", one)
}

func escape(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text))
	return b.String()
}

// admit counts the call, fails it as the test says, and checks its signature and permission.
func (c *Cloud) admit(w http.ResponseWriter, r *http.Request, service, action string, body []byte) error {
	if err := c.pretend(w, action); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.verify(r, service, body); err != nil {
		return err
	}
	return c.permitted(service, action, "*")
}

// pretend does to the call what the test said.
func (c *Cloud) pretend(w http.ResponseWriter, action string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[action]++
	if c.down {
		panic(http.ErrAbortHandler) // the connection ends without an answer
	}
	if all := c.failures[action]; len(all) > 0 {
		c.failures[action] = all[1:]
		return refuse(all[0].code, "%s", all[0].message)
	}
	return nil
}

// permitted says no where the permission was taken. Mu is held.
func (c *Cloud) permitted(service, action, resource string) error {
	if !c.denied[action] {
		return nil
	}
	code := map[string]string{"elasticloadbalancing": "AccessDenied", "iam": "AccessDenied", "sts": "AccessDenied", "ec2": "UnauthorizedOperation"}[service]
	if code == "" {
		code = "AccessDeniedException"
	}
	return refuse(code, "User: arn:aws:iam::%s:user/slipway is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action", Account, action, resource, action)
}

// keyOf is the access key that signed the request.
func (c *Cloud) keyOf(r *http.Request) string {
	_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ := strings.Cut(rest, "/")
	return key
}

// verify computes the request's signature again
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html). Mu is held.
func (c *Cloud) verify(r *http.Request, service string, body []byte) error {
	_, rest, ok := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if !ok {
		return refuse("MissingAuthenticationToken", "Missing Authentication Token")
	}
	scope, rest, _ := strings.Cut(rest, ", SignedHeaders=")
	signed, signature, _ := strings.Cut(rest, ", Signature=")
	parts := strings.Split(scope, "/")
	region := Region
	if service == "iam" {
		region = "us-east-1"
	}
	credential, known := c.credentials[parts[0]]
	switch {
	case !known || len(parts) != 5 || credential.SessionToken != r.Header.Get("X-Amz-Security-Token"):
		return refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	case credential.CanExpire:
		return refuse("ExpiredTokenException", "The security token included in the request is expired")
	case parts[2] != region || parts[3] != service:
		return refuse("SignatureDoesNotMatch", "Credential should be scoped to a valid region and service, not %s and %s.", parts[2], parts[3])
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return refuse("IncompleteSignature", "%v", err)
	}
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	for header := range strings.SplitSeq(signed, ";") {
		switch header {
		case "host", "content-length", "x-amz-date", "x-amz-security-token":
		default:
			again.Header.Set(header, r.Header.Get(header))
		}
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(context.Background(), credential, again, hex.EncodeToString(sum[:]), service, region, at); err != nil {
		return err
	}
	if _, want, _ := strings.Cut(again.Header.Get("Authorization"), "Signature="); want != signature {
		return refuse("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
	}
	return nil
}

func fetch(t testing.TB, req *http.Request) (int, string) {
	t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(string(body))
}

// Get returns what is at the URL.
func Get(t testing.TB, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, body := fetch(t, req)
	return body
}
