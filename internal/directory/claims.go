package directory

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/factor/keypin"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// How long a claim may be taken: an ordinary one, and the operator's for the
// last administrator.
const (
	claimLife   = 72 * time.Hour
	recoverLife = time.Hour
)

// The kinds of claim, and of their states those that are asked about here.
const (
	claimFirst   = "first"
	claimReissue = "reissue"

	claimOpen   = "open"
	claimVoided = "voided"
)

// claimTries is how many wrong codes or PINs void a claim.
const claimTries = 5

// NewClaim asks for a claim: how it is delivered, and what of an existing
// account is set anew besides the key.
type NewClaim struct {
	Channel string   // mail, letter or screen
	Reset   []string // of pin, factors
	// Checked is how whoever asks made sure of the person: in_person, call,
	// photo_id, or "" where nobody was asked. It goes into the record.
	Checked string
}

// Claim is what the person who made one is shown, once.
type Claim struct {
	UserID    string
	ID        string
	URL       string // "" when it went by mail
	Code      identity.Secret
	ExpiresAt time.Time
}

// NewClaim makes a claim for a person; an open one is voided. The link and the
// code go by different channels. Action: users.
func (d *Directory) NewClaim(ctx context.Context, who signin.Who, workspaceID, userID string, in NewClaim) (Claim, error) {
	if !slices.Contains([]string{"mail", "letter", "screen"}, in.Channel) {
		return Claim{}, identity.RefuseField("channel", "unknown", "The channels are mail, letter and screen.")
	}
	if !slices.Contains([]string{"", "in_person", "call", "photo_id"}, in.Checked) {
		return Claim{}, identity.RefuseField("checked", "unknown", "They were checked in person, by a call, or by photo id.")
	}
	for _, r := range in.Reset {
		if r != "pin" && r != "factors" {
			return Claim{}, identity.RefuseField("reset", "unknown", "What can be reset is pin and factors.")
		}
	}
	p, err := d.prepareClaim(ctx, in, claimLife)
	if err != nil {
		return Claim{}, err
	}
	var user store.User
	check := func(tx *store.Tx) (err error) {
		if user, err = tx.User(userID); err != nil {
			return unknown(err, "user")
		}
		if user.DisabledAt > 0 {
			return identity.Refuse(identity.Conflict, "user_disabled", "This person is disabled. Enable them first.")
		}
		if in.Channel == "mail" && user.Email == "" {
			return identity.RefuseField("channel", "no_address", "This person has no mail address. Print a letter or show it on screen.")
		}
		return nil
	}
	var out Claim
	err = d.signin.Act(ctx, who, workspaceID, policy.ActUsers, "claim.create", check, func(tx *store.Tx) error {
		if out, err = d.insertClaim(tx, p, user); err != nil {
			return err
		}
		if in.Channel != "mail" {
			return nil
		}
		out.URL = ""
		return d.outbox.Enqueue(tx, notify.Message{Channel: notify.ChannelMail, To: user.Email, UserID: user.ID, Template: "claim_link",
			Data: map[string]string{"name": user.Name, "url": p.shown.URL}})
	})
	return out, err
}

type preparedClaim struct {
	NewClaim
	shown    Claim
	token    identity.Secret
	verifier []byte
	life     time.Duration
}

func (d *Directory) prepareClaim(ctx context.Context, in NewClaim, life time.Duration) (preparedClaim, error) {
	p := preparedClaim{NewClaim: in, token: identity.NewToken(), life: life}
	p.shown = Claim{ID: identity.NewID(identity.ClaimID), Code: identity.NewDigits(6)}
	p.shown.URL = d.publicURL + "/claim/" + p.token.Reveal()
	var failed error
	err := d.signin.Hash(ctx, signin.Lane{}, func() {
		p.verifier, failed = d.keys.NewVerifier(d.keys.Costs().Code, "claim", "code_verifier", p.shown.ID, p.shown.Code, nil)
	})
	if err == nil {
		err = failed
	}
	return p, err
}

func (d *Directory) insertClaim(tx *store.Tx, p preparedClaim, user store.User) (Claim, error) {
	shown := p.shown
	shown.UserID, shown.ExpiresAt = user.ID, tx.Now().Add(p.life)
	if _, err := tx.HoldUser(user.ID); err != nil { // one open claim a person, whoever makes another at once
		return shown, err
	}
	if err := tx.VoidClaims(user.ID); err != nil {
		return shown, err
	}
	kind := claimFirst
	if user.ClaimedAt > 0 {
		kind = claimReissue
	}
	err := tx.InsertClaim(store.InsertClaimParams{ID: shown.ID, TokenHash: tokenHash(p.token), UserID: user.ID, Kind: kind,
		Reset: strings.Join(p.Reset, " "), Channel: p.Channel, CodeVerifier: p.verifier, CreatedBy: tx.By().Actor, ExpiresAt: shown.ExpiresAt.UnixMicro()})
	if err != nil {
		return shown, err
	}
	_, err = tx.Record(audit.Event{Type: "claim.create", Outcome: audit.Success, User: user.ID,
		Detail: audit.Detail{"channel": p.Channel, "kind": kind, "reset": strings.Join(p.Reset, " "), "checked": p.Checked}})
	return shown, err
}

func tokenHash(t identity.Secret) string {
	sum := sha256.Sum256([]byte(t.Reveal()))
	return hex.EncodeToString(sum[:])
}

// ClaimView is all that a claim's address shows before the code was typed.
type ClaimView struct {
	Workspace string
	Initials  string
	ExpiresAt time.Time
	Reissue   bool // the present PIN is asked
	SetsPIN   bool // a new PIN is chosen
	PINLength int
}

// errGone says that a claim is over.
func errGone() error {
	return identity.Refuse(identity.Gone, "claim_over", "This link was used, replaced or is too old. Ask an administrator for a new one.")
}

func (d *Directory) readClaim(ctx context.Context, token identity.Secret) (store.Claim, store.User, store.Workspace, error) {
	var c store.Claim
	var u store.User
	var w store.Workspace
	var now int64
	err := d.db.ReadSystem(ctx, func(tx *store.SystemTx) (err error) {
		now = tx.Micros()
		if c, err = tx.ClaimByToken(tokenHash(token)); err != nil {
			return unknown(err, "claim")
		}
		if u, err = tx.Workspace(c.WorkspaceID).User(c.UserID); err != nil {
			return err
		}
		w, err = tx.Workspace(c.WorkspaceID).WorkspaceRow()
		return err
	})
	if err == nil && (over(c, now) || u.DisabledAt > 0) {
		err = errGone()
	}
	return c, u, w, err
}

// over reports whether a claim can be taken no more.
func over(c store.Claim, now int64) bool { return c.State != claimOpen || c.ExpiresAt <= now }

// Claim shows a claim's workspace and the person's initials. It never spends
// anything: mail scanners follow links.
func (d *Directory) Claim(ctx context.Context, token identity.Secret) (ClaimView, error) {
	c, u, w, err := d.readClaim(ctx, token)
	if err != nil {
		return ClaimView{}, err
	}
	doc, _, err := d.sessions.Policy(ctx, c.WorkspaceID)
	if err != nil {
		return ClaimView{}, err
	}
	return ClaimView{Workspace: w.Name, Initials: initials(u.Name), ExpiresAt: at(c.ExpiresAt), Reissue: c.Kind == claimReissue && !resets(c, "pin"),
		SetsPIN: c.Kind == claimFirst || resets(c, "pin"), PINLength: doc.PIN.Length}, nil
}

func resets(c store.Claim, what string) bool { return slices.Contains(strings.Fields(c.Reset), what) }

func initials(name string) string {
	var b strings.Builder
	for i, word := range strings.Fields(name) {
		if r, _ := utf8.DecodeRuneInString(word); i < 3 {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Claimed is what a person is shown once, when their claim is complete.
type Claimed struct {
	Name, Email   string
	Key           identity.Secret // "" where the workspace has no use for keys
	RecoveryCodes []identity.Secret
}

// CompleteClaim takes a claim with its code and a PIN: a first claim sets the
// PIN and gives key and recovery codes; a later one checks the PIN and gives a
// new key, and every session of the person is parked. Five wrong codes or PINs
// void it. It signs nobody in. Of many at once exactly one gets the key.
func (d *Directory) CompleteClaim(ctx context.Context, v *session.Visit, token, code, pin identity.Secret) (Claimed, error) {
	g, err := d.weigh(ctx, v, token, code, pin)
	if err != nil {
		return Claimed{}, err
	}
	return d.decide(ctx, v, g)
}

// weigh compares and hashes what a claim asks for, outside any transaction.
func (d *Directory) weigh(ctx context.Context, v *session.Visit, token, code, pin identity.Secret) (weighed, error) {
	code = identity.Secret(strings.NewReplacer(" ", "", "-", "").Replace(code.Reveal()))
	if len(code) != 6 || strings.Trim(code.Reveal(), "0123456789") != "" {
		return weighed{}, identity.RefuseField("claim_code", "code_format", "The code is six digits.")
	}
	if !signin.WellFormedPIN(pin) {
		return weighed{}, pinField(keypin.ErrPINFormat)
	}
	var g weighed
	var err error
	if g.claim, g.user, _, err = d.readClaim(ctx, token); err != nil {
		return g, err
	}
	if err := d.signin.Throttle(ctx, v, false); err != nil {
		return g, err
	}
	lane := signin.Lane{Range: v.Client.Range()}
	if g.rightCode, err = d.checkCode(ctx, g.claim, code, lane); err != nil || !g.rightCode {
		return g, err
	}
	err = d.prepareCredentials(ctx, &g, pin, lane)
	if errors.As(err, &g.refused) && g.refused.Kind == identity.Invalid {
		err = nil // said once it is certain that the claim is still open
	}
	return g, err
}

func (d *Directory) decide(ctx context.Context, v *session.Visit, g weighed) (Claimed, error) {
	by := audit.By{Client: v.Client}
	if g.rightCode {
		by.Actor = g.user.ID
	}
	var out Claimed
	err := d.db.System(ctx, by, func(sys *store.SystemTx) error {
		out = Claimed{}
		return d.take(sys, v, g, &out)
	})
	return out, err
}

func (d *Directory) checkCode(ctx context.Context, c store.Claim, code identity.Secret, lane signin.Lane) (bool, error) {
	var match keyring.Match
	var failed error
	err := d.signin.Hash(ctx, lane, func() {
		match, failed = d.keys.CheckVerifier(d.keys.Costs().Code, c.CodeVerifier, "claim", "code_verifier", c.ID, code)
	})
	return match.OK, cmp.Or(err, failed)
}

// take decides a claim. The person's row comes first, so that tries at once are
// decided one after the other, and none once the claim is over.
func (d *Directory) take(sys *store.SystemTx, v *session.Visit, g weighed, out *Claimed) error {
	tx := sys.Workspace(g.claim.WorkspaceID)
	if _, err := tx.HoldUser(g.user.ID); err != nil {
		return err
	}
	c, err := sys.ClaimByToken(g.claim.TokenHash)
	if err != nil {
		return err
	}
	if over(c, tx.Micros()) {
		return refuseClaim(tx, c, errGone())
	}
	if !g.rightCode {
		return d.wrongClaim(sys, v, c, "wrong_code")
	}
	if g.refused != nil {
		return refuseClaim(tx, c, g.refused)
	}
	if g.checksPIN {
		right, err := d.signin.SettlePIN(tx, g.proof, signin.PathClaim)
		if err != nil {
			return refuseClaim(tx, c, err)
		}
		if !right {
			return d.wrongClaim(sys, v, c, "wrong_pin")
		}
	}
	if _, err := tx.UseClaim(c.ID); err != nil {
		return err
	}
	return d.give(tx, g, out)
}

// refuseClaim leaves the event of a claim that was refused with err, when err is
// a refusal, and hands it on.
func refuseClaim(tx *store.Tx, c store.Claim, err error) error {
	var r *identity.Refusal
	if !errors.As(err, &r) {
		return err
	}
	if _, err := tx.Record(audit.Event{Type: "claim.complete", Outcome: audit.Denied, User: c.UserID, Detail: audit.Detail{"reason": r.Code}}); err != nil {
		return err
	}
	return r
}

// wrongClaim counts a wrong code or PIN; the fifth voids the claim and whoever
// made it is told.
func (d *Directory) wrongClaim(sys *store.SystemTx, v *session.Visit, c store.Claim, reason string) error {
	tx := sys.Workspace(c.WorkspaceID)
	row, err := tx.CountClaimMiss(c.ID)
	if err != nil {
		return err
	}
	_, err = tx.Record(audit.Event{Type: "claim.complete", Outcome: audit.Denied, User: c.UserID, Detail: audit.Detail{"reason": reason, "misses": row.Misses}})
	if err != nil {
		return err
	}
	r := identity.Refuse(identity.Unauthenticated, reason, "That was not right. Check it and try again.")
	r.Extra = map[string]any{"tries_left": claimTries - row.Misses}
	if row.State == claimVoided {
		r.Detail = "That was not right, and it was the fifth time: this link is void. Ask an administrator for a new one."
		if err := d.tellVoided(tx, c); err != nil {
			return err
		}
	}
	if err := d.signin.CountFailure(sys, v, false); err != nil {
		return err
	}
	return r
}

// tellVoided writes to whoever made a claim; to the administrators where the
// operator did.
func (d *Directory) tellVoided(tx *store.Tx, c store.Claim) error {
	user, err := tx.User(c.UserID)
	if err != nil {
		return err
	}
	everybody, err := Recipients(tx, c.CreatedBy)
	if err != nil {
		return err
	}
	for _, r := range everybody {
		if r.UserID != c.CreatedBy && (c.CreatedBy != audit.ActorCLI || r.Kind != Administrator) {
			continue
		}
		r.Phone = nil // it can wait until they read their mail
		if err := d.write(tx, r, "claim_voided", user.Name); err != nil {
			return err
		}
	}
	return nil
}

// weighed is what a claim comes to: whether its code was right, and what it gives,
// already hashed.
type weighed struct {
	claim     store.Claim
	rightCode bool
	refused   *identity.Refusal // why the PIN may not be
	user      store.User
	checksPIN bool
	proof     signin.PINProof
	pin       *signin.PreparedPIN
	key       *signin.PreparedKey
	recovery  *recoverySet
}

// prepareCredentials checks and hashes what a right code gives. Somebody with a factor
// is asked for it here, once there are factors: mfa_required, and then the same
// again.
func (d *Directory) prepareCredentials(ctx context.Context, g *weighed, pin identity.Secret, lane signin.Lane) error {
	doc, _, err := d.sessions.Policy(ctx, g.claim.WorkspaceID)
	if err != nil {
		return err
	}
	first := g.claim.Kind == claimFirst
	if first || resets(g.claim, "pin") {
		p, err := d.signin.PreparePIN(ctx, g.claim.WorkspaceID, g.user.ID, pin, "pin", lane)
		if err != nil {
			return err
		}
		g.pin = &p
	} else {
		g.checksPIN = true
		if g.proof, err = d.signin.ProvePIN(ctx, g.claim.WorkspaceID, g.user.ID, pin, lane); err != nil || !g.proof.Right() {
			return err
		}
	}
	if slices.Contains(doc.Methods, policy.KeyPIN) || doc.Fallback.KeyPINWhenIDPDown == "auto" {
		k, err := d.signin.PrepareKey(ctx, lane)
		if err != nil {
			return err
		}
		g.key = &k
	}
	if first {
		r, err := d.prepareRecovery(ctx, lane)
		if err != nil {
			return err
		}
		g.recovery = &r
	}
	return nil
}

// give writes what a claim gives, in the transaction that spent it.
func (d *Directory) give(tx *store.Tx, g weighed, out *Claimed) error {
	out.Name, out.Email = g.user.Name, g.user.Email
	if g.pin != nil {
		if err := d.signin.SetPIN(tx, *g.pin); err != nil {
			return err
		}
	}
	if g.key != nil {
		if err := d.giveKey(tx, g.user.ID, *g.key); err != nil {
			return err
		}
		out.Key = g.key.Key
	}
	salt := g.user.RecoverySalt
	if g.recovery != nil {
		if err := g.recovery.insert(tx, g.user.ID); err != nil {
			return err
		}
		salt, out.RecoveryCodes = g.recovery.salt, g.recovery.codes
	}
	if g.claim.Kind == claimFirst {
		if err := tx.SetUserClaimed(g.user.ID, salt); err != nil {
			return err
		}
	} else {
		if err := tx.ResumeKeyPin(g.user.ID); err != nil {
			return err
		}
		if _, err := d.sessions.ParkAll(tx, g.user.ID, "key_reissued", ""); err != nil {
			return err
		}
		if err := d.signin.Tell(tx, g.user, "claim_reissued", g.user); err != nil {
			return err
		}
	}
	_, err := tx.Record(audit.Event{Type: "claim.complete", Outcome: audit.Success, User: g.user.ID, Detail: audit.Detail{"kind": g.claim.Kind}})
	return err
}

// RecoverAdmin makes a claim, good for an hour, for an administrator who has
// lost everything: the operator's last resort. It is no session, and all
// administrators, reviewers and old contacts are told first.
func (d *Directory) RecoverAdmin(ctx context.Context, slug, address string) (Claim, error) {
	mail, err := email("email", address)
	if err != nil {
		return Claim{}, err
	}
	w, err := d.WorkspaceBySlug(ctx, slug)
	if err != nil {
		return Claim{}, err
	}
	p, err := d.prepareClaim(ctx, NewClaim{Channel: "screen", Reset: []string{"pin"}}, recoverLife)
	if err != nil {
		return Claim{}, err
	}
	var out Claim
	err = d.db.Workspace(ctx, signin.CLI().By(), w.ID, func(tx *store.Tx) error {
		doc, _, err := document(tx)
		if err != nil {
			return err
		}
		user, err := tx.UserByEmail(mail)
		if err != nil {
			return unknown(err, "user")
		}
		if rules, ok := doc.Role(identity.Role(user.Role)); !ok || rules.Class != identity.Administration || user.DisabledAt > 0 {
			return identity.Refuse(identity.Conflict, "not_an_administrator", "This person is not an enabled administrator. An administrator can make a claim for anybody else.")
		}
		told, err := Recipients(tx, user.ID)
		if err != nil {
			return err
		}
		for _, r := range told {
			if err := d.write(tx, r, "recover_admin", user.Name); err != nil {
				return err
			}
		}
		out, err = d.insertClaim(tx, p, user)
		return err
	})
	return out, err
}

// write sends a notice to every contact point of a recipient.
func (d *Directory) write(tx *store.Tx, r Recipient, template, name string) error {
	var all []notify.Message
	add := func(channel string, addresses []string) {
		for _, to := range addresses {
			all = append(all, notify.Message{Channel: channel, To: to, UserID: r.UserID, Template: template, Data: map[string]string{"name": name}})
		}
	}
	add(notify.ChannelMail, r.Mail)
	add(notify.ChannelSMS, r.Phone)
	return d.outbox.Enqueue(tx, all...)
}
