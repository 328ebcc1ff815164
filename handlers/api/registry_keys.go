package api

import (
	"context"
	"time"

	"slipway.dev/services/registry"
)

// RegistryKey is a key that signs the registry's tokens, or did. The key itself is never told.
type RegistryKey struct {
	ID        string     `json:"id"`
	CreatedAt time.Time  `json:"created_at"`
	RetiredAt *time.Time `json:"retired_at" doc:"When it stopped to sign; null: it signs."`
	GoodUntil *time.Time `json:"good_until" doc:"When what it signed is believed no more."`
}

// RotateRegistryKeys says what becomes of the old keys.
type RotateRegistryKeys struct {
	DropOld bool `json:"drop_old,omitempty" doc:"They may have leaked: what they signed is worthless at once."`
}

func (a *API) registryKeys() {
	get(a, "/registry/keys", "list-registry-keys", "Keys that sign the registry's tokens", a.listRegistryKeys, admin)
	post(a, "/registry/keys/rotate", "rotate-registry-keys", "Sign the registry's tokens with a new key", a.rotateRegistryKeys, admin, repeatable,
		about("It happens by itself every 30 days. What the old key signed stays good until it expires, unless drop_old is set."))
}

func (a *API) listRegistryKeys(ctx context.Context, _ *struct{}) (*answer[List[RegistryKey]], error) {
	keys, err := a.Registry.Keys(ctx)
	if err != nil {
		return nil, err
	}
	return whole(keys, registryKeyOf), nil
}

func (a *API) rotateRegistryKeys(ctx context.Context, in *struct{ Body RotateRegistryKeys }) (*answer[List[RegistryKey]], error) {
	if err := a.Registry.RotateKeys(ctx, in.Body.DropOld); err != nil {
		return nil, err
	}
	return a.listRegistryKeys(ctx, nil)
}

func registryKeyOf(k *registry.Key) RegistryKey {
	return RegistryKey{k.ID, k.CreatedAt.UTC(), utc(k.RetiredAt), utc(k.GoodUntil)}
}
