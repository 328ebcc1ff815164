// Package secretstest gives tests a box whose key is known.
package secretstest

import (
	"encoding/base64"

	"slipway.dev/services/secrets"
)

// Box is the same in every process of a test, so that one opens what another has sealed. Its key is nobody's secret.
func Box() *secrets.Box {
	box, err := secrets.Parse(base64.StdEncoding.EncodeToString(make([]byte, 32)))
	if err != nil {
		panic(err) // the key is fixed
	}
	return box
}
