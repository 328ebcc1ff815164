package admin

import (
	"time"

	"slipway.dev/views/components"
)

// RegistryKey is a key that signs the registry's tokens, or did.
type RegistryKey struct {
	ID        string
	CreatedAt time.Time
	RetiredAt *time.Time
	GoodUntil *time.Time
}

// RegistryKeysView is the list of them.
type RegistryKeysView struct {
	Keys []RegistryKey
	Days int // after which a key is replaced by itself
	Curl components.CurlExample
}
