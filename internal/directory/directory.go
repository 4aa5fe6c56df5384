package directory

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// Config is what the directory works with. All fields are needed.
type Config struct {
	DB        *store.DB
	Keys      *keyring.Ring
	Sessions  *session.Manager
	Signin    *signin.Machine
	Outbox    *notify.Outbox
	PublicURL string
	Log       *slog.Logger
}

// Directory is safe for concurrent use.
type Directory struct {
	db        *store.DB
	keys      *keyring.Ring
	sessions  *session.Manager
	signin    *signin.Machine
	outbox    *notify.Outbox
	publicURL string
	log       *slog.Logger
}

// New makes the directory and gives the outbox the texts of its messages.
func New(c Config) (*Directory, error) {
	if c.DB == nil || c.Keys == nil || c.Sessions == nil || c.Signin == nil || c.Outbox == nil || c.PublicURL == "" || c.Log == nil {
		return nil, errors.New("directory: a field of Config is missing")
	}
	d := &Directory{c.DB, c.Keys, c.Sessions, c.Signin, c.Outbox, c.PublicURL, c.Log}
	d.registerMessages()
	return d, nil
}

// Workspace is a workspace as pages and the API name it.
type Workspace struct {
	ID       string `json:"id"`
	Slug     string `json:"slug"`
	Name     string `json:"name"`
	TimeZone string `json:"time_zone"`
}

func workspaceOf(w store.Workspace) Workspace { return Workspace{w.ID, w.Slug, w.Name, w.TimeZone} }

// Workspaces lists all of the installation's.
func (d *Directory) Workspaces(ctx context.Context) ([]Workspace, error) {
	var out []Workspace
	err := d.db.ReadSystem(ctx, func(tx *store.SystemTx) error {
		rows, err := tx.Workspaces()
		for _, w := range rows {
			out = append(out, workspaceOf(w))
		}
		return err
	})
	return out, err
}

// Workspace returns one by its id, or an Unknown refusal.
func (d *Directory) Workspace(ctx context.Context, id string) (Workspace, error) {
	var w store.Workspace
	err := d.db.Read(ctx, id, func(tx *store.Tx) (err error) {
		w, err = tx.WorkspaceRow()
		return err
	})
	return workspaceOf(w), unknown(err, "workspace")
}

// WorkspaceBySlug returns one by its slug, or an Unknown refusal.
func (d *Directory) WorkspaceBySlug(ctx context.Context, slug string) (Workspace, error) {
	var w store.Workspace
	err := d.db.ReadSystem(ctx, func(tx *store.SystemTx) (err error) {
		w, err = tx.WorkspaceBySlug(slug)
		return err
	})
	return workspaceOf(w), unknown(err, "workspace")
}

// unknown turns a missing row into a refusal.
func unknown(err error, what string) error {
	if errors.Is(err, store.ErrNoRows) {
		return identity.Refuse(identity.Unknown, "unknown_"+what, "There is no such "+what+" here.")
	}
	return err
}

// document reads the workspace's policy within a transaction.
func document(tx *store.Tx) (policy.Document, store.Policy, error) {
	row, err := tx.CurrentPolicy()
	if err != nil {
		return policy.Document{}, row, err
	}
	doc, bad := policy.Parse([]byte(row.Document))
	if len(bad) > 0 {
		return doc, row, errors.New("the stored policy cannot be read")
	}
	return doc, row, nil
}

// Names returns what people of a workspace are called, by id, for sentences. An
// id that is nobody's is returned as it is.
func (d *Directory) Names(ctx context.Context, workspaceID string) (func(id string) string, error) {
	names := map[string]string{}
	err := d.db.Read(ctx, workspaceID, func(tx *store.Tx) error {
		users, err := tx.Users()
		for _, u := range users {
			names[u.ID] = u.Name
		}
		return err
	})
	return func(id string) string {
		if n, ok := names[id]; ok {
			return n
		}
		return id
	}, err
}

func cleanName(field, s string, longest int) (string, error) {
	s = strings.Join(strings.Fields(s), " ")
	if s == "" {
		return "", identity.RefuseField(field, "missing", "This is needed.")
	}
	if len(s) > longest || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '<' || r == '>' }) {
		return "", identity.RefuseField(field, "invalid", "Use letters, and not too many.")
	}
	return s, nil
}

func email(field, s string) (string, error) {
	e, err := identity.NormalizeEmail(s)
	if err != nil {
		return "", identity.RefuseField(field, "invalid", "This is not a mail address.")
	}
	return e, nil
}

func phone(field, s string) (string, error) {
	if s == "" {
		return "", nil
	}
	p, err := notify.ParsePhone(s)
	if err != nil {
		return "", identity.RefuseField(field, "invalid", "Write the number with its country, such as +44 20 7946 0000.")
	}
	return p, nil
}

// week is how long former administrators, reviewers and addresses are still
// told.
const week = 7 * 24 * time.Hour
