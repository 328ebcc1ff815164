package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"syscall"

	"slipway.dev/models"
)

// problem is a failure in the form of the specification: a status, a code for programs, a message for people.
type problem struct {
	status  int
	code    string
	message string
}

func (p *problem) Error() string { return p.code + ": " + p.message }

var (
	errNoSuchPath      = &problem{404, "UNSUPPORTED", "The registry has nothing at this path."}
	errUnsupported     = &problem{405, "UNSUPPORTED", "The registry does not offer this method here."}
	errName            = &problem{400, "NAME_INVALID", "A repository's name is made of lower-case letters, digits, dots, hyphens and slashes."}
	errNameUnknown     = &problem{404, "NAME_UNKNOWN", "No such repository."}
	errTooManyTags     = &problem{414, "TAG_INVALID", "A push may set at most 100 tags at once."}
	errLast            = &problem{400, "PAGINATION_NUMBER_INVALID", "last has to be the last name of the page before."}
	errTag             = &problem{400, "TAG_INVALID", "A tag is made of at most 128 letters, digits, dots, hyphens and underscores and does not begin with a dot or hyphen."}
	errDigestFormat    = &problem{400, "DIGEST_INVALID", "The digest is not a SHA-256 or SHA-512 digest."}
	errDigest          = &problem{400, "DIGEST_INVALID", "The content does not have the digest that was announced."}
	errBlobUnknown     = &problem{404, "BLOB_UNKNOWN", "The repository has no such blob."}
	errBlobNeeded      = &problem{409, "DENIED", "An image of the repository needs this blob. Delete the image first."}
	errUploadUnknown   = &problem{404, "BLOB_UPLOAD_UNKNOWN", "No such upload; it may have been abandoned for too long. Begin again."}
	errUploadBusy      = &problem{409, "BLOB_UPLOAD_INVALID", "Another request is still writing to this upload. Wait for it, or begin again."}
	errUploadRange     = &problem{416, "BLOB_UPLOAD_INVALID", "The chunk does not begin where the upload stands."}
	errUploadBroken    = &problem{400, "BLOB_UPLOAD_INVALID", "The upload broke off before its end."}
	errManifestUnknown = &problem{404, "MANIFEST_UNKNOWN", "The repository has no such image."}
	errManifestSize    = &problem{413, "SIZE_INVALID", "A manifest may have at most 4 MiB."}
	errBlobSize        = &problem{413, "SIZE_INVALID", "The layer is larger than this registry takes. An admin can raise the limit."}
	errPageSize        = &problem{400, "PAGINATION_NUMBER_INVALID", "n has to be a number that is not negative."}
	errDiskFull        = &problem{403, "DENIED", "The disk of the Slipway server is full: nothing can be pushed until an admin makes room."}
	errStorage         = &problem{503, "UNAVAILABLE", "The registry can not reach the storage of its layers right now. Try again in a moment."}
	errInternal        = &problem{500, "UNKNOWN", "Something went wrong inside the registry. An admin finds the reason in the log."}
)

// errMissing says what of a manifest the repository does not have.
func errMissing(what string) error {
	return &problem{404, "MANIFEST_BLOB_UNKNOWN", "The manifest needs " + what + ", which the repository does not have. Push it first."}
}

// isMissing tells whether the error is one of errMissing.
func isMissing(err error) bool {
	told := new(problem)
	return errors.As(err, &told) && told.code == "MANIFEST_BLOB_UNKNOWN"
}

// errSize says that a manifest is wrong about the size of what it names.
func errSize(what string, said, is int64) error {
	return &problem{400, "SIZE_INVALID", fmt.Sprintf("The manifest says that %s has %d bytes; it has %d.", what, said, is)}
}

func manifestInvalid(message string) error { return &problem{400, "MANIFEST_INVALID", message} }

// problemOf turns any error into what the client may know of it.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errDiskFull
	}
	if e, ok := errors.AsType[*models.Error](err); ok {
		return ofModels(e)
	}
	return errInternal
}

func ofModels(e *models.Error) *problem {
	switch e.Code {
	case models.Unauthorized:
		return &problem{http.StatusUnauthorized, "UNAUTHORIZED", e.Message}
	case models.Denied:
		return &problem{http.StatusForbidden, "DENIED", e.Message}
	case models.Conflict:
		return &problem{http.StatusConflict, "DENIED", e.Message}
	case models.NotFound:
		return &problem{http.StatusNotFound, "NAME_UNKNOWN", e.Message}
	case models.TooLarge:
		return &problem{http.StatusRequestEntityTooLarge, "SIZE_INVALID", e.Message}
	case models.TooMany:
		return &problem{http.StatusTooManyRequests, "TOOMANYREQUESTS", e.Message}
	case models.Unavailable:
		return &problem{http.StatusServiceUnavailable, "UNAVAILABLE", e.Message}
	}
	return errInternal
}

// fail writes the error; what the client did not cause is logged.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if (p == errInternal || p == errDiskFull || p == errStorage) && r.Context().Err() == nil {
		slog.ErrorContext(r.Context(), "registry", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if p.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "60")
	}
	_ = writeJSON(w, p.status, map[string]any{"errors": []any{map[string]string{"code": p.code, "message": p.message}}})
}

func writeJSON(w http.ResponseWriter, status int, body any) error {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(body)
}
