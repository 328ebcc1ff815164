package registries

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"slipway.dev/models"
	"slipway.dev/services/outbound"
)

// Explain turns a failure of reading from or writing to a registry into an
// error for people. What a registry itself wrote is not repeated: it is the other side's text.
func (r *Remote) Explain(err error) error {
	if err == nil {
		return nil
	}
	if typed, ok := errors.AsType[*models.Error](err); ok {
		return typed
	}
	host := r.service.Embedded.Host()
	at := &models.Registry{Host: host}
	if r.Registry != nil {
		at = r.Registry
	}
	if answer := new(transport.Error); errors.As(err, &answer) {
		switch answer.StatusCode {
		case http.StatusNotFound:
			return &models.Error{Code: models.NotFound, Message: "There is no such image in " + r.Name() + ".", Err: quiet(err)}
		case http.StatusUnauthorized, http.StatusForbidden:
			return &models.Error{Code: models.Denied, Message: "The registry " + at.Host + " does not let Slipway into " + r.Name() + ". An admin can check its credential under Registries.", Err: quiet(err)}
		}
	}
	message, help := explain(err, at, "")
	if help != "" {
		message += " " + help
	}
	return &models.Error{Code: models.Unavailable, Message: message, Err: quiet(err)}
}

// quiet is the cause for logs, without anything that a registry wrote: an
// answer may repeat the credential that it was sent, and an address that it
// redirects to may carry a signature.
func quiet(err error) error {
	if answer, ok := errors.AsType[*transport.Error](err); ok {
		if answer.Request == nil {
			return fmt.Errorf("HTTP %d", answer.StatusCode)
		}
		return fmt.Errorf("%s %s: HTTP %d", answer.Request.Method, answer.Request.URL.Host, answer.StatusCode)
	}
	if at, ok := errors.AsType[*url.Error](err); ok {
		if to, parsed := url.Parse(at.URL); parsed == nil {
			return fmt.Errorf("%s %s: %w", at.Op, to.Host, at.Err)
		}
		return at.Err
	}
	for _, own := range []bool{is[*ForeignError](err), is[*DowngradeError](err), is[*SizeError](err), is[net.Error](err), errors.Is(err, errSlow),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded)} {
		if own {
			return err
		}
	}
	return fmt.Errorf("the client library failed (%T)", err)
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// explain says what failed and what to do. Otherwise is said where the registry refused by its status.
func explain(err error, r *models.Registry, otherwise string) (message, help string) {
	if typed, ok := errors.AsType[*models.Error](err); ok {
		return typed.Message, ""
	}
	if e, ok := errors.AsType[*outbound.RefusedError](err); ok {
		return r.Host + " can't be reached: " + e.Error() + ".", ""
	}
	if e, ok := errors.AsType[*outbound.HostError](err); ok {
		return "The name " + e.Host + " has no address: " + e.Reason + ".", "Check the host for typing errors."
	}
	if e, ok := errors.AsType[*ForeignError](err); ok {
		return "The registry wants " + e.What + " sent to another host, " + e.Host + ", which nobody has confirmed. Nothing was sent there.", "If that host belongs to the registry, an admin enters it under Token host."
	}
	if e, ok := errors.AsType[*SizeError](err); ok {
		return fmt.Sprintf("The registry answered with more than the %d MiB that are read of such an answer.", e.Limit>>20), ""
	}
	if message, help := explainTLS(err, r); message != "" && !is[*transport.Error](err) {
		return message, help
	}
	return explainAnswer(err, r, otherwise)
}

func explainTLS(err error, r *models.Registry) (message, help string) {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "The certificate of " + r.Host + " is signed by an authority that this machine does not know.", "Enter the authority's certificate, or let the machine trust it."
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "The certificate of " + r.Host + " is for another name.", "Use the name in the certificate."
	}
	if _, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return "The certificate of " + r.Host + " is not valid, or no longer.", "Renew it."
	}
	if errors.Is(err, http.ErrSchemeMismatch) || is[tls.RecordHeaderError](err) {
		return r.Host + " does not speak TLS on this port.", "Correct the port, or allow plain http for it where the network can be trusted."
	}
	return "", ""
}

func explainAnswer(err error, r *models.Registry, otherwise string) (message, help string) {
	answer := new(transport.Error)
	timeout, _ := errors.AsType[net.Error](err)
	switch {
	case errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return or(otherwise, "The registry does not take the credential."), loginHelp(r.Kind)
	case errors.As(err, &answer) && answer.StatusCode == http.StatusTooManyRequests:
		return "The registry has had too many requests and asks to wait.", "Try again later."
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return "What answers at " + r.Host + " is not a registry: it has no /v2/.", "Check the host and the port."
	case errors.As(err, &answer):
		return fmt.Sprintf("The registry %s answered %d.", r.Host, answer.StatusCode), "Try again later, and look at the registry's own log."
	case errors.Is(err, errSlow), errors.Is(err, context.DeadlineExceeded), timeout != nil && timeout.Timeout():
		return r.Host + " did not answer in time.", "Check that it runs and that this machine may reach it."
	case errors.Is(err, syscall.ECONNREFUSED):
		return "Nothing answers at " + r.Host + ": the connection was refused.", "Check the port, and that the registry runs."
	}
	// Last: on this machine the client library tries plain http too after TLS has failed.
	if e, ok := errors.AsType[*DowngradeError](err); ok {
		return "The registry answers without TLS, or leads there (" + e.Host + "). Nothing was sent.", "Give it a certificate, or allow plain http for it where the network can be trusted."
	}
	return "The registry " + r.Host + " could not be reached, or its answer could not be understood.", "Check the host and the port."
}

// loginHelp says which credential the kind takes.
func loginHelp(kind string) string {
	k, err := KindOf(kind)
	if err != nil {
		return "Check the credential."
	}
	return "Check that it is whole, not expired, and of the right sort. " + k.Help
}

// rightsHelp says what the credential lacks.
func rightsHelp(kind, action string) string {
	k, err := KindOf(kind)
	if err != nil {
		return "Give the credential the right to " + action + "."
	}
	return "Give it the right to " + action + ". " + k.Help
}
