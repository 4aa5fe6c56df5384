package signin_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
)

// Nobody's PIN, key or code.
const (
	wrongPIN = identity.Secret("7395")
	denied   = `"outcome":"denied"`
	success  = `"outcome":"success"`
)

// clinic is mitraltest's with what these tests do often.
type clinic struct {
	*mitraltest.Clinic
	t *testing.T
}

func forEach(t *testing.T, f func(t *testing.T, c clinic)) {
	t.Parallel()
	mitraltest.ForEachDatabase(t, func(t *testing.T, c *mitraltest.Clinic) { f(t, clinic{c, t}) })
}

// try sends key and PIN from a browser, which keeps the answer's cookies.
func (c clinic) try(b *mitraltest.Device, in signin.KeyPIN) (signin.Outcome, error) {
	v := b.Visit()
	out, err := c.Signin.KeyPIN(context.Background(), v, in)
	b.Keep(v)
	return out, err
}

func pair(p mitraltest.Person, pin identity.Secret) signin.KeyPIN {
	return signin.KeyPIN{Identifier: p.Email, Key: p.Key, PIN: pin}
}

// strangers sends n wrong PINs with the right key, each from a new browser.
func (c clinic) strangers(n int, p mitraltest.Person) {
	c.t.Helper()
	for range n {
		_, err := c.try(c.NewDevice(), pair(p, wrongPIN))
		refused(c.t, err, "invalid_credentials")
	}
}

func (c clinic) lock(b *mitraltest.Device) {
	c.t.Helper()
	who := b.Who()
	if _, err := c.Sessions.Lock(context.Background(), who.Visit, who.Live, session.ReasonUser); err != nil {
		c.t.Fatal(err)
	}
	b.Keep(who.Visit)
}

func (c clinic) unlock(b *mitraltest.Device, pin identity.Secret) error {
	c.t.Helper()
	who := b.Who()
	_, err := c.Signin.Unlock(context.Background(), who.Visit, who.Live, signin.UnlockInput{Method: "pin", PIN: pin})
	b.Keep(who.Visit)
	return err
}

// stepUp asks for a token as the browser's session.
func (c clinic) stepUp(b *mitraltest.Device, in signin.StepUpInput) (identity.Secret, error) {
	if in.Method == "" {
		in.Method = "pin"
	}
	token, _, err := c.Signin.StepUp(context.Background(), b.Who(), in)
	return token, err
}

func (c clinic) changePIN(b *mitraltest.Device, current, next identity.Secret) (signin.Outcome, error) {
	who := b.Who()
	out, err := c.Signin.ChangePIN(context.Background(), who, current, next)
	b.Keep(who.Visit)
	return out, err
}

// signedOut reports whether a browser has no session any more.
func (c clinic) signedOut(b *mitraltest.Device) bool {
	_, err := c.Sessions.Check(context.Background(), b.Visit(), session.Peek)
	return errors.Is(err, session.ErrSignedOut)
}

// refused fails unless err is a refusal with the code, of its own or of one of
// its fields.
func refused(t testing.TB, err error, code string) *identity.Refusal {
	t.Helper()
	var r *identity.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("want a refusal %s, got %v", code, err)
	}
	if r.Code != code && !slices.ContainsFunc(r.Fields, func(f identity.FieldError) bool { return f.Code == code }) {
		t.Fatalf("want the refusal %s, got %s %v", code, r.Code, r.Fields)
	}
	return r
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// atOnce runs f n times at the same moment and returns what each came to.
func atOnce(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// codes counts what many came to, by code; "" is success.
func codes(t testing.TB, errs []error) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, err := range errs {
		var r *identity.Refusal
		switch {
		case err == nil:
			n[""]++
		case errors.As(err, &r):
			n[r.Code]++
		default:
			t.Errorf("a fault: %v", err)
		}
	}
	return n
}

const day = 24 * time.Hour
