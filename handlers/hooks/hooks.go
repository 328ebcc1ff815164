// Package hooks takes the webhooks of forges over HTTP.
package hooks

import (
	"errors"
	"io"
	"net/http"

	"github.com/labstack/echo/v4"
	"slipway.dev/models"
	"slipway.dev/services/hooks"
	"slipway.dev/services/limits"
)

// Handler answers forges.
type Handler struct {
	Hooks    *hooks.Service
	Failures *limits.Limiter // of webhooks that are not signed right, for each peer
}

// answer is what a forge is told; it shows it to people in its own list of deliveries.
type answer struct {
	ID      string `json:"id"`
	Message string `json:"message"`
}

// Receive takes one webhook. The answer is written once all of it is in the database. What carries no signature at all
// is refused before its body is read.
func (h *Handler) Receive(c echo.Context) error {
	in := hooks.Incoming{ConnectionID: c.Param("id"), Header: c.Request().Header}
	if hooks.Signed(in.Header) {
		var err error
		if in.Body, err = io.ReadAll(c.Request().Body); err != nil {
			return unread(err)
		}
	}
	receipt, err := h.Hooks.Receive(c.Request().Context(), in)
	if models.IsCode(err, models.Unauthorized) && !h.Failures.Allow(limits.Peer(models.RequestFrom(c.Request().Context()).IP)) {
		return models.Errorf(models.TooMany, "Too many webhooks with a wrong signature came from this address. Wait a minute.")
	}
	if err != nil {
		return err
	}
	if receipt.Again {
		return c.JSON(http.StatusOK, answer{receipt.DeliveryID, "already received"})
	}
	return c.JSON(http.StatusAccepted, answer{receipt.DeliveryID, "received"})
}

func unread(err error) error {
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return models.Errorf(models.TooLarge, "The webhook is larger than %d bytes.", hooks.MaxBody)
	}
	return &models.Error{Code: models.Invalid, Message: "The webhook did not arrive whole.", Err: err}
}
