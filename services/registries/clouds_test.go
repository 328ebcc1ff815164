package registries_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/schemas"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"
	"slipway.dev/models"
	"slipway.dev/services/registries"
)

const (
	ecrHost   = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
	accessKey = "AKIDEXAMPLE"
	secretKey = "canary/of+the/access+key"
)

// fakeECR speaks the API's wire protocol, with the SDK's own serializer, and checks signatures.
type fakeECR struct {
	t      *testing.T
	at     string // whose registry the key is for
	life   time.Duration
	denies string // an operation

	mu       sync.Mutex
	calls    []string
	existing map[string]bool
}

func (f *fakeECR) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, operation)
	switch {
	case !f.signed(r, body):
		fault(w, "InvalidSignatureException", "the signature of "+secretKey+" does not match")
	case operation == f.denies:
		fault(w, "AccessDeniedException", "not allowed")
	case operation == "GetAuthorizationToken":
		login := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "AWS:login-%d", len(f.calls)))
		f.answer(w, schemas.GetAuthorizationToken, schemas.GetAuthorizationTokenResponse, &ecr.GetAuthorizationTokenOutput{AuthorizationData: []types.AuthorizationData{
			{AuthorizationToken: &login, ExpiresAt: aws.Time(time.Now().Add(f.life)), ProxyEndpoint: aws.String("https://" + f.at)}}})
	case operation == "DescribeRepositories":
		var in struct{ RepositoryNames []string }
		json.Unmarshal(body, &in)
		if !f.existing[in.RepositoryNames[0]] {
			fault(w, "RepositoryNotFoundException", "no such repository")
			return
		}
		f.answer(w, schemas.DescribeRepositories, schemas.DescribeRepositoriesResponse, &ecr.DescribeRepositoriesOutput{})
	case operation == "CreateRepository":
		var in struct{ RepositoryName string }
		json.Unmarshal(body, &in)
		f.existing[in.RepositoryName] = true
		f.answer(w, schemas.CreateRepository, schemas.CreateRepositoryResponse, &ecr.CreateRepositoryOutput{})
	default:
		fault(w, "UnknownOperationException", operation)
	}
}

func (f *fakeECR) answer(w http.ResponseWriter, operation, output *smithy.Schema, value smithy.Serializable) {
	request := smithyhttp.NewStackRequest().(*smithyhttp.Request)
	protocol := awsjson.New11(schemas.AmazonEC2ContainerRegistry_V20150921)
	if err := protocol.SerializeRequest(context.Background(), smithy.NewOperationSchema(operation, output, output), value, request); err != nil {
		f.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	io.Copy(w, request.GetStream())
}

func fault(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(http.StatusBadRequest)
	fmt.Fprintf(w, `{"__type":%q,"message":%q}`, code, message)
}

// signed computes the signature anew and compares.
func (f *fakeECR) signed(r *http.Request, body []byte) bool {
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.Path, strings.NewReader(string(body)))
	if err != nil {
		return false
	}
	_, list, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
	list, _, _ = strings.Cut(list, ",")
	for _, name := range strings.Split(list, ";") {
		if name != "host" && name != "content-length" {
			again.Header.Set(name, r.Header.Get(name))
		}
	}
	again.ContentLength = r.ContentLength
	at, _ := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	key, _ := credentials.NewStaticCredentialsProvider(accessKey, secretKey, "").Retrieve(r.Context())
	sum := r.Header.Get("X-Amz-Content-Sha256")
	if sum == "" {
		sum = fmt.Sprintf("%x", sha256.Sum256(body))
	}
	if err := v4.NewSigner().SignHTTP(r.Context(), key, again, sum, "ecr", "eu-central-1", at); err != nil {
		return false
	}
	return again.Header.Get("Authorization") == r.Header.Get("Authorization")
}

func startECR(t *testing.T, w *world) *fakeECR {
	f := &fakeECR{t: t, at: ecrHost, life: 12 * time.Hour, existing: map[string]bool{}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	w.Endpoints.ECR = server.URL
	return f
}

func connectECR(t *testing.T, w *world, secret string) *models.Registry {
	t.Helper()
	r, err := w.Create(admin(t), registries.Input{Name: "AWS " + secret, Kind: registries.KindECR, Host: ecrHost, AllTeams: models.RegistryPush,
		Settings: map[string]string{"access_key_id": accessKey, "secret_access_key": secret}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func credential(t *testing.T, w *world, r *models.Registry) (user, password string, err error) {
	t.Helper()
	at, err := w.Open(admin(t), r.ID, "acme/shop", registries.Pull)
	if err != nil {
		t.Fatal(err)
	}
	return at.Credential(t.Context())
}

func TestAnAccessKeyIsExchangedForALoginThatIsKeptUntilShortlyBeforeItsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	api := startECR(t, w)
	r := connectECR(t, w, secretKey)
	user, first, err := credential(t, w, r)
	if err != nil || user != "AWS" || !strings.HasPrefix(first, "login-") {
		t.Fatalf("the login is %s %s, error %v", user, first, err)
	}
	if _, again, _ := credential(t, w, r); again != first {
		t.Errorf("the login was not kept: %s, then %s", first, again)
	}
	api.life = 5 * time.Minute
	r, err = w.Update(admin(t), r.ID, registries.Input{Name: r.Name, Host: r.Host, AllTeams: models.RegistryPush, Settings: r.Settings})
	if err != nil {
		t.Fatal(err)
	}
	_, short, _ := credential(t, w, r)
	if _, again, _ := credential(t, w, r); short == first || again == short {
		t.Errorf("a login that ends soon was used again: %s, then %s", short, again)
	}
}

func TestTheRepositoryIsMadeAtTheFirstPushWhereItIsMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	api := startECR(t, w)
	r := connectECR(t, w, secretKey)
	for range 2 {
		if _, err := w.Open(admin(t), r.ID, "acme/shop", registries.Pull, registries.Push); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Open(admin(t), r.ID, "acme/other", registries.Pull); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(api.calls, " "); !api.existing["acme/shop"] || api.existing["acme/other"] || strings.Count(got, "CreateRepository") != 1 {
		t.Errorf("the calls were %s", got)
	}
	api.denies = "CreateRepository"
	_, err := w.Open(admin(t), r.ID, "acme/new", registries.Push)
	if err == nil || !strings.Contains(err.Error(), "ecr:CreateRepository") {
		t.Errorf("the error is %v", err)
	}
	api.denies = "DescribeRepositories" // a key that may push and no more
	if _, err := w.Open(admin(t), r.ID, "acme/fresh", registries.Push); err != nil {
		t.Error(err)
	}
}

func TestAKeyThatDoesNotFitIsSaidWithoutRepeatingIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	api := startECR(t, w)
	wrong := connectECR(t, w, "wrong")
	_, _, err := credential(t, w, wrong)
	if err == nil || !strings.Contains(err.Error(), "InvalidSignature") {
		t.Errorf("the error is %v", err)
	}
	if told := messages(wrong); strings.Contains(told, secretKey) {
		t.Errorf("the check tells the key: %s", told)
	}
	api.at = "999999999999.dkr.ecr.eu-central-1.amazonaws.com"
	if _, _, err := credential(t, w, connectECR(t, w, secretKey)); err == nil || !strings.Contains(err.Error(), "another account") {
		t.Errorf("the error is %v", err)
	}
}

// serviceAccount is a key file whose own idea of where tokens come from leads elsewhere.
func serviceAccount(t *testing.T, elsewhere string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "builder@project.iam.gserviceaccount.com", "private_key_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": elsewhere})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAServiceAccountsKeyIsExchangedAtGoogleAndNowhereElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqlite(t))
	var tokens, stolen atomic.Int64
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Add(1) }))
	t.Cleanup(evil.Close)
	google := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.FormValue("assertion"), ".")
		claims, _ := base64.RawURLEncoding.DecodeString(parts[min(1, len(parts)-1)])
		if r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || !strings.Contains(string(claims), `"https://oauth2.googleapis.com/token"`) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"invalid_grant","error_description":"`+r.FormValue("assertion")+`"}`)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"ya29.%d","expires_in":3600,"token_type":"Bearer"}`, tokens.Add(1))
	}))
	t.Cleanup(google.Close)
	w.Endpoints.Google = google.URL
	r, err := w.Create(admin(t), registries.Input{Name: "Google", Kind: registries.KindGAR, Host: "europe-west3-docker.pkg.dev", AllTeams: models.RegistryPush,
		Settings: map[string]string{"key": serviceAccount(t, evil.URL)}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		user, password, err := credential(t, w, r)
		if err != nil || user != "oauth2accesstoken" || password != "ya29.1" {
			t.Errorf("the login is %s %s, error %v", user, password, err)
		}
	}
	if stolen.Load() > 0 {
		t.Error("the key went where its file said")
	}
}
