package admin

import (
	"time"

	"slipway.dev/views/components"
)

// KeysView is all keys that Slipway signs with and that an admin can replace.
type KeysView struct {
	Registry KeySet
	Clouds   KeySet
	Issuer   string // of the tokens for clouds
	Public   string // where its public keys are
}

// KeySet is the keys of one use.
type KeySet struct {
	ID, Title string // ID is also the end of the address that replaces them
	About     string // what they sign, and when they are replaced by themselves
	Asks      string // what happens when one is replaced now
	Leaked    string // what happens when the others are deleted besides
	Keys      []Key
	Curl      components.CurlExample
}

// Key is a key that signs, did, or will.
type Key struct {
	ID        string
	CreatedAt time.Time
	SignsFrom *time.Time // nil: it signs, or did
	RetiredAt *time.Time // nil: it signs, or will
	GoodUntil *time.Time // of what a retired key signed; nil: not told
}

func (s KeySet) dialog() string { return "rotate-" + s.ID }

// action is where a new key is asked for.
func (s KeySet) action() string { return "/admin/keys/" + s.ID }
