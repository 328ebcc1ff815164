package docker_test

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"slipway.dev/services/deploy/docker"
	"slipway.dev/services/sshtest"
)

func TestTheCloudInitOfATargetLetsItsKeyIn(t *testing.T) {
	t.Parallel()
	kind := docker.SSHKind()
	settings, secrets := map[string]string{"host": "deployer@203.0.113.7"}, map[string]string{}
	if err := kind.Prepare(settings, secrets); err != nil {
		t.Fatal(err)
	}
	text, err := kind.CloudInit(settings)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Packages []string
		Users    []yaml.Node
		Password bool              `yaml:"ssh_pwauth"`
		Keys     map[string]string `yaml:"ssh_keys"`
	}
	if err := yaml.Unmarshal([]byte(text), &got); err != nil || !strings.HasPrefix(text, "#cloud-config\n") {
		t.Fatalf("it is %q, %v", text, err)
	}
	var user struct {
		Name   string
		Groups []string
		Keys   []string `yaml:"ssh_authorized_keys"`
	}
	if len(got.Users) != 2 || got.Users[0].Value != "default" || got.Users[1].Decode(&user) != nil {
		t.Fatalf("the users are %+v", got.Users)
	}
	if user.Name != "deployer" || strings.Join(user.Groups, "") != "docker" || len(user.Keys) != 1 || user.Keys[0] != settings["public_key"] {
		t.Errorf("the user is %+v", user)
	}
	if got.Packages[0] != "docker.io" || got.Password || len(got.Keys) > 0 || strings.Contains(text, "PRIVATE") {
		t.Errorf("it says %s", text)
	}
}

func TestAHostKeyThatIsKnownBeforeTheMachineIsGivenToIt(t *testing.T) {
	t.Parallel()
	private, public := sshtest.KeyPair(t, "")
	text, err := docker.CloudInit(docker.NewHost{User: "slipway", PublicKey: "ssh-ed25519 AAAA slipway", HostKey: &docker.HostKey{Private: private, Public: public}})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Keys  map[string]string `yaml:"ssh_keys"`
		Users []yaml.Node
		Files []struct{ Path, Content string } `yaml:"write_files"`
	}
	if err := yaml.Unmarshal([]byte(text), &got); err != nil || got.Keys["ed25519_private"] != private || got.Keys["ed25519_public"] != public || len(got.Users) != 1 {
		t.Errorf("the keys are %+v, %v", got, err)
	}
	if len(got.Files) != 1 || !strings.Contains(got.Files[0].Content, "169.254.169.254") {
		t.Errorf("the files are %+v", got.Files)
	}
}
