package models

import (
	"errors"
	"fmt"

	"gorm.io/gorm"
)

// Code says what kind of failure an Error is; handlers map it to one HTTP status.
type Code string

// The failures a person can cause or meet.
const (
	Invalid      Code = "invalid"      // the input is wrong; Fields says where
	Unauthorized Code = "unauthorized" // nobody is signed in, or the credential is not valid
	Denied       Code = "denied"       // signed in, and the role or scope is too low
	NotFound     Code = "not_found"    // absent, or not visible to the principal: the two are not told apart
	Conflict     Code = "conflict"     // exists already, or is in a state that forbids the change
	TooMany      Code = "too_many"     // a rate or quota is used up
	TooLarge     Code = "too_large"    // the body or file is over a limit
	Unavailable  Code = "unavailable"  // something Slipway depends on does not answer; trying later may help
	Internal     Code = "internal"     // a fault of Slipway's own
)

// Error is a failure that people may read: Message says what happened, to what,
// and what to do. Any other error is internal: it is logged, never shown.
type Error struct {
	Code    Code
	Message string
	Fields  map[string]string // for Invalid: a sentence for each field that needs attention
	Err     error             // the cause, for logs only
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an *Error of the code with a message for people.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// InvalidField returns an Invalid error about one field.
func InvalidField(field, format string, args ...any) error {
	return InvalidFields(map[string]string{field: fmt.Sprintf(format, args...)})
}

// InvalidFields returns an Invalid error about several fields, or nil where there are none.
func InvalidFields(fields map[string]string) error {
	if len(fields) == 0 {
		return nil
	}
	return &Error{Code: Invalid, Message: "Some fields need attention.", Fields: fields}
}

// IsCode tells whether err is, or wraps, an *Error of the code.
func IsCode(err error, code Code) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == code
}

// FromDB turns the two database errors that a person can cause into Errors about the noun.
func FromDB(err error, noun string) error {
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound):
		return Errorf(NotFound, "No such %s.", noun)
	case errors.Is(err, gorm.ErrDuplicatedKey):
		return Errorf(Conflict, "That %s exists already.", noun)
	}
	return err
}
