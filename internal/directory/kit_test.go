package directory_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
)

const (
	denied  = `"outcome":"denied"`
	success = `"outcome":"success"`
	day     = 24 * time.Hour
	many    = 50

	// Nobody's.
	wrongPIN  = identity.Secret("7395")
	needsStep = "insufficient_user_authentication"
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

// forEachEmpty is forEach before anybody has set the installation up.
func forEachEmpty(t *testing.T, f func(t *testing.T, c clinic)) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		f(t, clinic{mitraltest.NewInstallation(t, "sqlite:"+filepath.Join(t.TempDir(), "mitral.db"), ""), t})
	})
	if testing.Short() {
		return
	}
	t.Run("postgres", func(t *testing.T) {
		owner, app := mitraltest.Postgres(t)
		f(t, clinic{mitraltest.NewInstallation(t, app, owner), t})
	})
}

// admin is the administrator in a browser of their own, freshly signed in.
func (c clinic) admin() signin.Who {
	b := c.NewDevice()
	b.SignIn(c.Admin)
	return b.Who()
}

func (c clinic) add(in directory.NewUser) (directory.User, error) {
	return c.Directory.AddUser(context.Background(), signin.CLI(), c.Workspace.ID, in)
}

func (c clinic) update(id string, change directory.Change) (directory.User, error) {
	return c.Directory.UpdateUser(context.Background(), signin.CLI(), c.Workspace.ID, id, change)
}

func (c clinic) claim(userID string, in directory.NewClaim) (directory.Claim, error) {
	return c.Directory.NewClaim(context.Background(), signin.CLI(), c.Workspace.ID, userID, in)
}

// onScreen makes a claim that must succeed.
func (c clinic) onScreen(userID string, reset ...string) directory.Claim {
	c.t.Helper()
	claim, err := c.claim(userID, directory.NewClaim{Channel: "screen", Reset: reset})
	ok(c.t, err)
	return claim
}

// take completes a claim from a new browser.
func (c clinic) take(claim directory.Claim, code, pin identity.Secret) (directory.Claimed, error) {
	return c.Directory.CompleteClaim(context.Background(), c.NewDevice().Visit(), mitraltest.ClaimToken(claim.URL), code, pin)
}

// signIn tries key and PIN from a new browser.
func (c clinic) signIn(p mitraltest.Person) error {
	_, err := c.Signin.KeyPIN(context.Background(), c.NewDevice().Visit(), signin.KeyPIN{Identifier: p.Email, Key: p.Key, PIN: p.PIN})
	return err
}

// state is how a browser's session stands.
func (c clinic) state(b *mitraltest.Device) session.State {
	c.t.Helper()
	live, err := c.Sessions.Check(context.Background(), b.Visit(), session.Peek)
	if errors.Is(err, session.ErrSignedOut) {
		return session.Ended
	}
	if live == nil {
		c.t.Fatal(err)
	}
	return live.State
}

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

// field fails unless err refuses the one field.
func field(t testing.TB, err error, name string) {
	t.Helper()
	var r *identity.Refusal
	if !errors.As(err, &r) || r.Kind != identity.Invalid || len(r.Fields) != 1 || r.Fields[0].Field != name {
		t.Errorf("want the field %s refused, got %v %+v", name, err, r)
	}
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

func told(t testing.TB, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
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

func ptr[T any](v T) *T { return &v }
