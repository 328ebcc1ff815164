package copies

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"slipway.dev/models"
	"slipway.dev/services/distribution"
	"slipway.dev/services/outbound"
	"slipway.dev/services/registries"
)

// errStalled ends a copy that moves nothing.
var errStalled = errors.New("no byte moved for too long")

// tell turns a failure into one for people about the field, unless it is one already.
func tell(err error, field string) error {
	if known, ok := errors.AsType[*models.Error](err); ok {
		return known
	}
	text, temporary := explain(err)
	if temporary {
		return &models.Error{Code: models.Unavailable, Message: text, Err: err}
	}
	return &models.Error{Code: models.Invalid, Message: "Some fields need attention.", Fields: map[string]string{field: text}, Err: err}
}

// explain says what went wrong in words for people, and whether trying later may help.
func explain(err error) (text string, temporary bool) {
	if known, ok := errors.AsType[*models.Error](err); ok {
		return known.Message, known.Code == models.Unavailable || known.Code == models.TooMany
	}
	where, did, own := "The registry", "write there", false
	if p, ok := errors.AsType[*placeError](err); ok {
		where, own = p.place, p.own
		if p.reading {
			did = "read from it"
		}
	}
	if text := forGood(err); text != "" {
		return where + ": " + text, false
	}
	status := distribution.Status(err)
	said := diagnosis(err, own)
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Sprintf("%s does not let Slipway %s%s", where, did, said), false
	case status == http.StatusNotFound:
		return fmt.Sprintf("%s has no such image%s", where, said), false
	case status == http.StatusTooManyRequests:
		return fmt.Sprintf("%s limits how often it is asked%s", where, said), true
	case status >= 500, status == http.StatusRequestTimeout:
		return fmt.Sprintf("%s answers with an error (HTTP %d)%s", where, status, said), true
	case status >= 400:
		return fmt.Sprintf("%s refused it (HTTP %d)%s", where, status, said), false
	case errors.Is(err, errStalled), errors.Is(err, context.DeadlineExceeded):
		return where + " is too slow: nothing moved for too long.", true
	}
	return where + " can't be reached, or broke the connection.", true
}

// forGood is why trying again would not help; empty where it may.
func forGood(err error) string {
	if e, ok := errors.AsType[*distribution.DigestError](err); ok {
		return "it sent something else than it announced: " + e.Error() + ". Nothing of it was stored."
	}
	if e, ok := errors.AsType[*distribution.FormError](err); ok {
		return e.Error() + "."
	}
	if e, ok := errors.AsType[*distribution.SizeError](err); ok {
		return e.Error() + "."
	}
	if e, ok := errors.AsType[*registries.SizeError](err); ok {
		return e.Error() + "."
	}
	if e, ok := errors.AsType[*registries.ForeignError](err); ok {
		return e.Error() + "."
	}
	if e, ok := errors.AsType[*registries.DowngradeError](err); ok {
		return e.Error() + "."
	}
	if e, ok := errors.AsType[*outbound.RefusedError](err); ok {
		return e.Error() + "."
	}
	if e, ok := errors.AsType[*limitError](err); ok {
		return e.Error()
	}
	return ""
}

const maxSaid = 300 // bytes of what the embedded registry says that people are shown

// diagnosis is what the registry itself said, as the end of a sentence: the text
// of the embedded registry, of another one its code alone, where that is one of
// the specification's. The rest is somebody else's text, which may repeat the login.
func diagnosis(err error, own bool) string {
	var refused *transport.Error
	if !errors.As(err, &refused) || len(refused.Errors) == 0 {
		return "."
	}
	said := refused.Errors[0].Message
	if !own {
		said = string(refused.Errors[0].Code)
		if !slices.Contains(knownCodes, said) {
			return "."
		}
	}
	said = strings.TrimSpace(strings.ToValidUTF8(said[:min(len(said), maxSaid)], ""))
	if said == "" {
		return "."
	}
	return ": " + strings.TrimSuffix(said, ".") + "."
}

// knownCodes are those of the distribution specification.
var knownCodes = []string{"BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID",
	"MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "TAG_INVALID", "UNAUTHORIZED", "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS"}
