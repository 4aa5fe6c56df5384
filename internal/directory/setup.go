package directory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/factor/keypin"
	"github.com/mitral-health/mitral/internal/factor/recovery"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// SetupInput is a first (or, by the operator, another) workspace and its first
// administrator.
type SetupInput struct {
	WorkspaceName, TimeZone, Reach    string
	AdminEmail, AdminName, AdminPhone string
	Preset                            string // "" is clinic
	PIN                               identity.Secret
	Another                           bool // allowed though a workspace exists
	Client                            identity.Client
	ByOperator                        bool // at the command line
}

// SealedCode is a break-glass code on its way to paper.
type SealedCode struct {
	Label    string
	Code     identity.Secret
	Location string
}

// SetupResult is what setup shows once.
type SetupResult struct {
	Workspace     Workspace
	User          User
	Key           identity.Secret
	RecoveryCodes []identity.Secret
	SealedCodes   []SealedCode
}

// sealedLife is after how long a sealed code should be replaced; it is a
// reminder, never a refusal.
const sealedLife = 180 * 24 * time.Hour

// setupLocations are where the first two letters are meant to lie.
var setupLocations = []string{"with the administrator", "away from this computer"}

func errSetUp() *identity.Refusal {
	return identity.Refuse(identity.Conflict, "already_set_up", "This server has a workspace already. Sign in, or make another one at the command line with mitral setup --another.")
}

// Setup makes a workspace with its policy, its first administrator with key and
// PIN, ten recovery codes and two sealed codes, all or nothing. Of two setups at
// once one wins; the other is refused with already_set_up.
func (d *Directory) Setup(ctx context.Context, in SetupInput) (SetupResult, error) {
	var out SetupResult
	name, err := cleanName("workspace", in.WorkspaceName, 80)
	if err != nil {
		return out, err
	}
	adminName, err := cleanName("admin_name", in.AdminName, 120)
	if err != nil {
		return out, err
	}
	mail, err := email("admin_email", in.AdminEmail)
	if err != nil {
		return out, err
	}
	number, err := phone("admin_phone", in.AdminPhone)
	if err != nil {
		return out, err
	}
	if in.Preset == "" {
		in.Preset = "clinic"
	}
	doc, err := policy.Preset(in.Preset)
	if err != nil {
		return out, identity.RefuseField("preset", "unknown", "The presets are clinic, hospital, cloud and paper.")
	}
	if in.TimeZone == "" {
		in.TimeZone = "UTC"
	}
	if _, err := time.LoadLocation(in.TimeZone); err != nil || len(in.TimeZone) > 64 {
		return out, identity.RefuseField("time_zone", "unknown", "Write a time zone such as Europe/London.")
	}
	if err := keypin.ValidatePIN(in.PIN, doc.PIN.Length, keypin.Personal{Phones: []string{number}}); err != nil {
		return out, pinField(err)
	}
	exists, err := d.exists(ctx)
	if err != nil {
		return out, err
	}
	if exists && !in.Another {
		return out, errSetUp()
	}

	workspaceID, userID := identity.NewID(identity.WorkspaceID), identity.NewID(identity.UserID)
	key, err := d.signin.PrepareKey(ctx, signin.Lane{})
	if err != nil {
		return out, err
	}
	pin, err := d.signin.PrepareFirstPIN(ctx, userID, in.PIN, signin.Lane{})
	if err != nil {
		return out, err
	}
	codes, err := d.prepareRecovery(ctx, signin.Lane{})
	if err != nil {
		return out, err
	}
	set, err := keyring.NewSet(d.keys.Costs().Code)
	if err != nil {
		return out, err
	}
	sealed, err := d.PrepareSealed(ctx, set, len(setupLocations), signin.Lane{})
	if err != nil {
		return out, err
	}

	by := audit.By{Actor: userID, Client: in.Client}
	if in.ByOperator {
		by = audit.By{Actor: audit.ActorCLI}
	}
	err = d.db.System(ctx, by, func(sys *store.SystemTx) error {
		if _, err := sys.LockInstallation(); err != nil {
			return err
		}
		n, err := sys.CountWorkspaces()
		if err != nil {
			return err
		}
		if n > 0 && !in.Another { // another setup was first
			if _, err := sys.Record(audit.Event{Type: "workspace.create", Outcome: audit.Denied, Detail: audit.Detail{"reason": errSetUp().Code}}); err != nil {
				return err
			}
			return errSetUp()
		}
		slug, err := freeSlug(sys, name)
		if err != nil {
			return err
		}
		err = sys.InsertWorkspace(store.InsertWorkspaceParams{ID: workspaceID, Slug: slug, Name: name, TimeZone: in.TimeZone, Reach: in.Reach, CodeSalt: []byte(set.String())})
		if err != nil {
			return err
		}
		tx := sys.Workspace(workspaceID)
		if _, err := tx.Record(audit.Event{Type: "workspace.create", Outcome: audit.Success, Detail: audit.Detail{"preset": in.Preset}}); err != nil {
			return err
		}
		if err := writePolicy(tx, doc, 1, by.Actor, "", false); err != nil {
			return err
		}
		err = tx.InsertUser(store.InsertUserParams{ID: userID, Email: mail, Name: adminName, Phone: number, Role: string(identity.Admin),
			CreatedBy: by.Actor, ClaimedAt: tx.Micros(), RecoverySalt: codes.salt})
		if err != nil {
			return err
		}
		if _, err := tx.Record(audit.Event{Type: "user.create", Outcome: audit.Success, User: userID, Detail: audit.Detail{"role": string(identity.Admin)}}); err != nil {
			return err
		}
		if err := d.giveKey(tx, userID, key); err != nil {
			return err
		}
		if err := d.signin.SetPIN(tx, pin); err != nil {
			return err
		}
		if err := codes.insert(tx, userID); err != nil {
			return err
		}
		out.SealedCodes, err = d.InsertSealed(tx, sealed, setupLocations, by.Actor)
		if err != nil {
			return err
		}
		user, err := tx.User(userID)
		if err != nil {
			return err
		}
		out.Workspace, out.User = Workspace{workspaceID, slug, name, in.TimeZone}, userOf(user)
		return nil
	})
	if err != nil {
		return SetupResult{}, err
	}
	out.Key, out.RecoveryCodes = key.Key, codes.codes
	return out, nil
}

// IsSetUp reports whether the installation has a workspace.
func (d *Directory) IsSetUp(ctx context.Context) (bool, error) { return d.exists(ctx) }

func (d *Directory) exists(ctx context.Context) (bool, error) {
	var n int64
	err := d.db.ReadSystem(ctx, func(tx *store.SystemTx) (err error) {
		n, err = tx.CountWorkspaces()
		return err
	})
	return n > 0, err
}

func freeSlug(tx *store.SystemTx, name string) (string, error) {
	base := identity.Slug(name)
	if base == "" {
		base = "clinic"
	}
	for i := 1; ; i++ {
		slug := base
		if i > 1 {
			slug = fmt.Sprintf("%s-%d", base, i)
		}
		_, err := tx.WorkspaceBySlug(slug)
		if errors.Is(err, store.ErrNoRows) {
			return slug, nil
		}
		if err != nil {
			return "", err
		}
	}
}

func pinField(err error) error {
	var r keypin.Refusal
	if errors.As(err, &r) {
		return identity.RefuseField("pin", r.Code(), r.Error())
	}
	return err
}

// giveKey stores and records a person's key; older ones stop at once.
func (d *Directory) giveKey(tx *store.Tx, userID string, key signin.PreparedKey) error {
	if err := d.signin.IssueKey(tx, userID, key, tx.Now()); err != nil {
		return err
	}
	_, err := tx.Record(audit.Event{Type: "factor.key_issue", Outcome: audit.Success, User: userID})
	return err
}

// recoverySet is a person's ten recovery codes, hashed under one salt.
type recoverySet struct {
	codes   []identity.Secret
	ids     []string
	digests [][]byte
	salt    []byte
}

func (d *Directory) prepareRecovery(ctx context.Context, lane signin.Lane) (recoverySet, error) {
	set, err := keyring.NewSet(d.keys.Costs().KeyPIN)
	if err != nil {
		return recoverySet{}, err
	}
	r := recoverySet{salt: []byte(set.String())}
	for _, c := range recovery.New() {
		id, digest, err := d.sealDigest(ctx, set, "recovery_code", c, lane)
		if err != nil {
			return r, err
		}
		r.codes = append(r.codes, identity.Secret(recovery.Format(c)))
		r.ids, r.digests = append(r.ids, id), append(r.digests, digest)
	}
	return r, nil
}

func (r recoverySet) insert(tx *store.Tx, userID string) error {
	if err := tx.DeleteRecoveryCodes(userID); err != nil {
		return err
	}
	for i, id := range r.ids {
		if err := tx.InsertRecoveryCode(id, userID, r.digests[i]); err != nil {
			return err
		}
	}
	_, err := tx.Record(audit.Event{Type: "factor.recovery_codes", Outcome: audit.Success, User: userID, Detail: audit.Detail{"count": int64(len(r.ids))}})
	return err
}

// sealDigest hashes a code of a set in the lane and seals it for a new row.
func (d *Directory) sealDigest(ctx context.Context, set keyring.Set, table string, code identity.Secret, lane signin.Lane) (id string, digest []byte, err error) {
	id = identity.NewID(identity.CodeID)
	var failed error
	if err := d.signin.Hash(ctx, lane, func() { digest, failed = set.Hash(code) }); err != nil {
		return "", nil, err
	}
	if failed != nil {
		return "", nil, failed
	}
	digest, err = d.keys.SealDigest(table, "digest", id, digest)
	return id, digest, err
}

// PreparedSealed are sealed codes, already hashed.
type PreparedSealed struct {
	codes   []identity.Secret
	ids     []string
	digests [][]byte
}

// PrepareSealed makes n sealed codes of a workspace's set.
func (d *Directory) PrepareSealed(ctx context.Context, set keyring.Set, n int, lane signin.Lane) (PreparedSealed, error) {
	var p PreparedSealed
	for range n {
		code := identity.NewCode(10)
		id, digest, err := d.sealDigest(ctx, set, "sealed_code", code, lane)
		if err != nil {
			return p, err
		}
		p.codes, p.ids, p.digests = append(p.codes, code), append(p.ids, id), append(p.digests, digest)
	}
	return p, nil
}

// InsertSealed stores prepared codes, one for each location, and records that
// they were minted.
func (d *Directory) InsertSealed(tx *store.Tx, p PreparedSealed, locations []string, mintedBy string) ([]SealedCode, error) {
	first, err := tx.TakeCodeNumbers(int64(len(p.ids)))
	if err != nil {
		return nil, err
	}
	var out []SealedCode
	for i, id := range p.ids {
		n := int(first) + i - 1
		label := fmt.Sprintf("BG-%c-%02d", 'A'+(n/99)%26, n%99+1)
		err := tx.InsertSealedCode(store.InsertSealedCodeParams{ID: id, Label: label, Location: locations[i], Digest: p.digests[i],
			MintedBy: mintedBy, ReplaceBy: tx.Now().Add(sealedLife).UnixMicro()})
		if err != nil {
			return nil, err
		}
		out = append(out, SealedCode{label, identity.Secret(identity.FormatCode(p.codes[i])), locations[i]})
	}
	_, err = tx.Record(audit.Event{Type: "break_glass.codes_mint", Outcome: audit.Success, Detail: audit.Detail{"count": int64(len(out)), "first": out[0].Label}})
	return out, err
}
