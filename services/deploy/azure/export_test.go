package azure

import (
	"net/http"
	"time"

	"slipway.dev/services/deploy"
)

// KindOver is Kind with a client that trusts a test's server, and little patience between looks.
func KindOver(client *http.Client) deploy.Kind {
	return kind(way{client: client, every: 100 * time.Millisecond, retry: 10 * time.Millisecond})
}
