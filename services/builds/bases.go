package builds

import (
	"context"
	"time"
)

// Bases say from where an engine takes base images instead of their own
// registries: a cache of them, for the registries that it has. The zero value
// says that all come from their own.
type Bases struct {
	Host  string            // of the registry that has them, such as localhost:8080
	Under map[string]string // by the host in a base image's name: the repository below which its images are there, such as cache/docker.io
	// Credential returns a user name and a password that may pull them.
	Credential func(ctx context.Context) (username, password string, err error)
	// Check fails, in words for people, where the image, named in full as it is there, can't be had.
	Check func(ctx context.Context, image string) error
}

// bases is where this build's base images come from; a cache that can't be found out about is left out with a warning.
func (r *run) bases(ctx context.Context) Bases {
	if r.Service.Bases == nil {
		return Bases{}
	}
	from, err := r.Service.Bases(ctx)
	if err != nil {
		r.rec.emit(Event{At: time.Now(), Warning: "Base images come from their own registries: the cache's settings could not be read."})
		return Bases{}
	}
	if login := from.Credential; login != nil {
		from.Credential = func(ctx context.Context) (string, string, error) {
			user, password, err := login(ctx)
			r.mask.Add(password)
			return user, password, err
		}
	}
	return from
}
