package models

import (
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Away tells whether the error means that the database could not be reached,
// was restarting, or cut the connection: what failed may work a moment later.
// Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html, 08 and 57P.
func Away(err error) bool {
	var refused *pgconn.ConnectError
	var answered *pgconn.PgError
	var broken *net.OpError // not any net.Error: an error of a file is one too
	switch {
	case err == nil:
		return false
	case errors.As(err, &answered):
		return strings.HasPrefix(answered.Code, "08") || strings.HasPrefix(answered.Code, "57P")
	case errors.As(err, &refused), errors.As(err, &broken), errors.Is(err, io.ErrUnexpectedEOF), pgconn.SafeToRetry(err):
		return true
	}
	return strings.Contains(err.Error(), "conn closed")
}
