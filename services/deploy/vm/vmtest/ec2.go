package vmtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"slipway.dev/models"
)

// What an EC2 knows from the start.
const (
	Region    = "eu-test-1"
	AccessKey = "AKIATESTTESTTEST"
	SecretKey = "the secret of the access key"
	Role      = "arn:aws:iam::123456789012:role/slipway"
	AMI       = "ami-0123456789abcdef0"
	Subnet    = "subnet-0123456789abcdef0"
	VPC       = "vpc-0123456789abcdef0"
)

// EC2 speaks the query protocol of Amazon EC2 and of STS, and the JSON of Systems Manager's GetParameter.
type EC2 struct {
	*machines
	URL string

	keys      map[string]aws.Credentials // that are accepted, by the access key's ID
	instances map[string]*instance
	groups    map[string]*group
	tokens    map[string]string // instances by client token
	orders    map[string]string // what was ordered with a client token
}

type instance struct {
	id, state, address, group, userData string
	tags                                map[string]string
	launched                            time.Time
}

type group struct {
	id, name string
	tags     map[string]string
	from     map[string]bool // CIDR
}

// NewEC2 starts one that ends with the test.
func NewEC2(t testing.TB) *EC2 {
	e := &EC2{machines: newMachines(t), keys: map[string]aws.Credentials{AccessKey: {AccessKeyID: AccessKey, SecretAccessKey: SecretKey}},
		instances: map[string]*instance{}, groups: map[string]*group{}, tokens: map[string]string{}, orders: map[string]string{}}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	e.URL = server.URL
	return e
}

// Foreign adds an instance and a group that are somebody else's.
func (e *EC2) Foreign() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.instances["i-foreign"] = &instance{id: "i-foreign", state: "running", tags: map[string]string{"slipway:target": models.NewID()}}
	e.groups["sg-foreign"] = &group{id: "sg-foreign", name: "default", tags: map[string]string{}}
}

// Instances are the instances that live, by their ids.
func (e *EC2) Instances() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	for id, i := range e.instances {
		if i.state != "terminated" && i.state != "shutting-down" {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// Groups are the security groups' ids, with where each lets SSH in from.
func (e *EC2) Groups() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	for id, g := range e.groups {
		out = append(out, id+" "+strings.Join(slices.Sorted(maps.Keys(g.from)), ","))
	}
	slices.Sort(out)
	return out
}

// Set gives all instances the state, as somebody would in the console.
func (e *EC2) Set(state string) {
	e.mu.Lock()
	var ended []string
	for _, i := range e.instances {
		if i.id != "i-foreign" {
			i.state = state
			ended = append(ended, i.address)
		}
	}
	e.mu.Unlock()
	for _, address := range ended {
		e.halt(address)
	}
}

// Expire ends all sessions of roles.
func (e *EC2) Expire() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, k := range e.keys {
		if k.SessionToken != "" {
			k.Expires, k.CanExpire = time.Now().Add(-time.Minute), true
			e.keys[id] = k
		}
	}
}

// ServeHTTP answers a call of any of the services.
func (e *EC2) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/" {
		e.refuse(w, r, &Fault{Status: 400, Code: "MalformedQueryString"})
		return
	}
	form, call := url.Values{}, strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSSM.")
	if call == "" {
		form, _ = url.ParseQuery(string(body))
		call = form.Get("Action")
	}
	if f := e.check(r, body, call); f != nil {
		e.refuse(w, r, f)
		return
	}
	f := e.fault(call)
	if f != nil && !f.Done {
		e.refuse(w, r, f)
		return
	}
	out, refused := e.answer(call, form, body)
	if f == nil {
		f = refused
	}
	if f != nil {
		e.refuse(w, r, f)
		return
	}
	_, _ = w.Write(out)
}

// refuse answers with the fault in the call's protocol.
func (e *EC2) refuse(w http.ResponseWriter, r *http.Request, f *Fault) {
	if f.Status == 0 {
		hangUp(w)
		return
	}
	w.WriteHeader(f.Status)
	if r.Header.Get("X-Amz-Target") != "" {
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": "com.amazonaws.ssm#" + f.Code, "message": f.Message})
		return
	}
	before, after := "<Response><Errors>", "</Errors><RequestID>1</RequestID></Response>"
	if r.Header.Get("Authorization") == "" { // STS, of which the one call that is not signed is made
		before, after = "<ErrorResponse>", "<RequestId>1</RequestId></ErrorResponse>"
	}
	_, _ = w.Write([]byte(before + "<Error><Code>" + f.Code + "</Code><Message>"))
	_ = xml.EscapeText(w, []byte(f.Message))
	_, _ = w.Write([]byte("</Message></Error>" + after))
}

// check signs the request again and compares
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
func (e *EC2) check(r *http.Request, body []byte, call string) *Fault {
	if call == "AssumeRoleWithWebIdentity" {
		return nil // its token is what proves
	}
	sent := r.Header.Get("Authorization")
	_, rest, _ := strings.Cut(sent, "Credential=")
	scope, rest, _ := strings.Cut(rest, ", SignedHeaders=")
	signed, _, _ := strings.Cut(rest, ", ")
	parts := strings.Split(scope, "/")
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || len(parts) != 5 {
		return &Fault{Status: 403, Code: "IncompleteSignature"}
	}
	e.mu.Lock()
	key, known := e.keys[parts[0]]
	e.mu.Unlock()
	want := "ec2"
	if r.Header.Get("X-Amz-Target") != "" {
		want = "ssm"
	}
	switch {
	case !known || r.Header.Get("X-Amz-Security-Token") != key.SessionToken:
		return &Fault{Status: 401, Code: "AuthFailure", Message: "AWS was not able to validate the provided access credentials"}
	case key.CanExpire && key.Expires.Before(time.Now()):
		return &Fault{Status: 400, Code: "RequestExpired", Message: "Request has expired."}
	case parts[2] != Region || parts[3] != want || time.Since(at).Abs() > 5*time.Minute:
		return &Fault{Status: 403, Code: "SignatureDoesNotMatch"}
	}
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return &Fault{Status: 400, Code: "MalformedQueryString"}
	}
	for name := range strings.SplitSeq(signed, ";") {
		if name != "host" && name != "content-length" {
			again.Header.Set(name, r.Header.Get(name))
		}
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(r.Context(), key, again, hex.EncodeToString(sum[:]), want, Region, at); err != nil || again.Header.Get("Authorization") != sent {
		return &Fault{Status: 403, Code: "SignatureDoesNotMatch", Message: "The request signature we calculated does not match the signature you provided."}
	}
	return nil
}

// Token is the identity token that the fake STS accepts for the role.
const Token = "a token of the portal for sts.amazonaws.com"
