package googletest

import (
	"encoding/base64"
	"fmt"
	"strings"

	"google.golang.org/api/googleapi"
	"google.golang.org/api/secretmanager/v1"
)

type secret struct {
	*secretmanager.Secret
	versions []string
}

func (c *Cloud) createSecret(q *call) (any, error) {
	in := &secretmanager.Secret{}
	if err := q.into(in); err != nil {
		return nil, err
	}
	id := q.URL.Query().Get("secretId")
	if in.Replication == nil || id == "" || len(id) > 255 {
		return nil, refuse(400, "INVALID_ARGUMENT", "The secret needs an id and a replication.")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.secrets[id] != nil {
		return nil, refuse(409, "ALREADY_EXISTS", "Secret [projects/%s/secrets/%s] already exists.", Number, id)
	}
	in.Name, in.CreateTime, in.Etag = "projects/"+Number+"/secrets/"+id, now(), fmt.Sprint(c.number())
	c.secrets[id] = &secret{Secret: in}
	return in, nil
}

func (c *Cloud) secret(q *call) (*secret, error) {
	if s := c.secrets[q.PathValue("name")]; s != nil {
		return s, nil
	}
	return nil, refuse(404, "NOT_FOUND", "Secret [projects/%s/secrets/%s] not found.", Number, q.PathValue("name"))
}

func (c *Cloud) getSecret(q *call) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.secret(q)
	if err != nil {
		return nil, err
	}
	return s.Secret, nil
}

// listSecrets knows filters of the form labels.a=b AND labels.c=d.
func (c *Cloud) listSecrets(q *call) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := &secretmanager.ListSecretsResponse{ServerResponse: googleapi.ServerResponse{}}
	for _, s := range c.secrets {
		fits := true
		for _, part := range strings.Split(q.URL.Query().Get("filter"), " AND ") {
			key, value, ok := strings.Cut(part, "=")
			name, isLabel := strings.CutPrefix(key, "labels.")
			if part != "" && (!ok || !isLabel) {
				return nil, refuse(400, "INVALID_ARGUMENT", "Invalid filter %q.", part)
			}
			fits = fits && (part == "" || s.Labels[name] == value)
		}
		if fits {
			out.Secrets = append(out.Secrets, s.Secret)
		}
	}
	return out, nil
}

func (c *Cloud) deleteSecret(q *call) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.secret(q); err != nil {
		return nil, err
	}
	delete(c.secrets, q.PathValue("name"))
	return &secretmanager.Empty{}, nil
}

func (c *Cloud) addVersion(q *call) (any, error) {
	in := &secretmanager.AddSecretVersionRequest{}
	if err := q.into(in); err != nil {
		return nil, err
	}
	if in.Payload == nil {
		return nil, refuse(400, "INVALID_ARGUMENT", "The version needs a payload.")
	}
	value, err := base64.StdEncoding.DecodeString(in.Payload.Data)
	if err != nil || len(value) == 0 || len(value) > 64<<10 {
		return nil, refuse(400, "INVALID_ARGUMENT", "The payload is not base64, empty or larger than 64 KiB.")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.secret(q)
	if err != nil {
		return nil, err
	}
	s.versions = append(s.versions, string(value))
	return &secretmanager.SecretVersion{Name: fmt.Sprintf("%s/versions/%d", s.Name, len(s.versions)), State: "ENABLED", CreateTime: now()}, nil
}

func (c *Cloud) listVersions(q *call) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.secret(q)
	if err != nil {
		return nil, err
	}
	out := &secretmanager.ListSecretVersionsResponse{}
	for n := len(s.versions); n > 0; n-- {
		out.Versions = append(out.Versions, &secretmanager.SecretVersion{Name: fmt.Sprintf("%s/versions/%d", s.Name, n), State: "ENABLED"})
	}
	return out, nil
}

// value is what a version of a secret holds.
func (c *Cloud) value(id, version string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.secrets[id]
	var n int
	if _, err := fmt.Sscanf(version, "%d", &n); s == nil || err != nil || n < 1 || n > len(s.versions) || c.denied["secretmanager.versions.access"] {
		return "", false
	}
	return s.versions[n-1], true
}
