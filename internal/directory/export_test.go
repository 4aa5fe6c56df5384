package directory

import (
	"context"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
)

// Weighed is a claim before its decision.
type Weighed = weighed

// Weigh is the first half of CompleteClaim.
func (d *Directory) Weigh(ctx context.Context, v *session.Visit, token, code, pin identity.Secret) (Weighed, error) {
	return d.weigh(ctx, v, token, code, pin)
}

// Decide is its second half.
func (d *Directory) Decide(ctx context.Context, v *session.Visit, g Weighed) (Claimed, error) {
	return d.decide(ctx, v, g)
}
