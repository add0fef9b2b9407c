package registry

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// What was cancelled because a request beside it got the answer 404 is not known to
// be absent.
func TestStoppedIsNotNotFound(t *testing.T) {
	why := errors.New("interrupted")
	for _, c := range []struct{ cause, want error }{
		{&StatusError{Method: http.MethodGet, Status: http.StatusNotFound}, context.Canceled},
		{&DeniedError{Err: &StatusError{Status: http.StatusForbidden}}, context.Canceled},
		{ErrNotFound, context.Canceled},
		{why, why},
		{nil, context.Canceled},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(c.cause)
		err := (&Repository{}).failed(ctx, ctx.Err(), http.MethodGet, (&Repository{}).endpoint())
		require.ErrorIs(t, err, c.want)
		require.NotErrorIs(t, err, ErrNotFound)
		require.NotErrorIs(t, sleep(ctx, 1), ErrNotFound)
	}
}
