package signin

import (
	"context"
	"errors"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/store"
)

// Allowed says whether who acts may do one of Mitral's own acts at all, before
// any step-up is asked: nil, or a Forbidden refusal.
func (m *Machine) Allowed(ctx context.Context, who Who, action string) error {
	if who.cli {
		return nil
	}
	d, _, err := m.sessions.Policy(ctx, who.Live.WorkspaceID)
	if err != nil {
		return err
	}
	switch dec := d.MayDo(who.Live.Role, action, who.Live.Grant != nil); {
	case dec.Verdict == policy.Permit:
		return nil
	case dec.Code == policy.DenyForbidden:
		return identity.Refuse(identity.Forbidden, policy.DenyForbidden, "Emergency access does not reach this.")
	}
	return identity.Refuse(identity.Forbidden, "forbidden", "Your role may not do this.")
}

// AllowedIn is Allowed for an operation on a workspace, and leaves the event of a
// refusal. Another workspace than the person's own is unknown to them.
func (m *Machine) AllowedIn(ctx context.Context, who Who, workspaceID, action, operation string) error {
	if !who.cli && who.Live.WorkspaceID != workspaceID {
		return m.RecordRefusal(ctx, who, who.Live.WorkspaceID, operation, identity.Refuse(identity.Unknown, "unknown_workspace", "There is no such workspace here."))
	}
	return m.RecordRefusal(ctx, who, workspaceID, operation, m.Allowed(ctx, who, action))
}

// Act runs f in a transaction of the actor's workspace once who acts may do the
// action and has confirmed it freshly enough. check is run first, inside the
// transaction: what it refuses (409, 412, 422) leaves a step-up token unspent.
// Every refusal leaves an event that names the operation.
func (m *Machine) Act(ctx context.Context, who Who, workspaceID, action, operation string, check, f func(*store.Tx) error) error {
	if err := m.AllowedIn(ctx, who, workspaceID, action, operation); err != nil {
		return err
	}
	return m.db.Workspace(ctx, who.By(), workspaceID, func(tx *store.Tx) error {
		if check != nil {
			if err := check(tx); err != nil {
				return refuseOperation(tx, operation, err)
			}
		}
		if !who.cli {
			d, err := m.policyIn(tx)
			if err != nil {
				return err
			}
			if err := m.Confirm(tx, who.Live, d, action, who.StepUp, ""); err != nil {
				return refuseOperation(tx, operation, err)
			}
		}
		return f(tx)
	})
}

// RecordRefusal leaves the event of an act that was refused before it began, and
// returns the refusal.
func (m *Machine) RecordRefusal(ctx context.Context, who Who, workspaceID, operation string, refusal error) error {
	var r *identity.Refusal
	if !errors.As(refusal, &r) {
		return refusal
	}
	return m.db.Workspace(ctx, who.By(), workspaceID, func(tx *store.Tx) error { return refuseOperation(tx, operation, r) })
}

// refuseOperation leaves the event of a refusal and hands the refusal on.
func refuseOperation(tx *store.Tx, operation string, err error) error {
	var r *identity.Refusal
	if !errors.As(err, &r) {
		return err
	}
	if _, err := tx.Record(audit.Event{Type: "authz.refused", Outcome: audit.Denied, Detail: audit.Detail{"operation": operation, "reason": r.Code}}); err != nil {
		return err
	}
	return r
}

// CheckInput is what an application asks about one action of its own.
type CheckInput struct {
	Action string
	Token  identity.Secret
	TxHash string
}

// Check answers an application's question whether the person may do an action
// now. Where the action asks for a fresh proof and there is none, it refuses
// with StepUpNeeded. Every question is one event.
func (m *Machine) Check(ctx context.Context, who Who, in CheckInput) (policy.Decision, error) {
	live := who.Live
	if err := checkTxHash(in.TxHash); err != nil {
		return policy.Decision{}, err
	}
	if !actionName(in.Action) {
		return policy.Decision{}, identity.RefuseField("action", "unknown", "An action is a lower-case word.")
	}
	var dec policy.Decision
	err := m.db.Workspace(ctx, who.By(), live.WorkspaceID, func(tx *store.Tx) error {
		d, err := m.policyIn(tx)
		if err != nil {
			return err
		}
		dec = d.MayDo(live.Role, in.Action, live.Grant != nil)
		e := audit.Event{Type: "authz.check", Outcome: audit.Success, Detail: audit.Detail{"action": in.Action, "decision": string(dec.Verdict)}}
		if dec.Verdict == policy.Permit {
			if err := m.Confirm(tx, live, d, in.Action, in.Token, in.TxHash); err != nil {
				return refuseCheck(tx, e, err)
			}
		} else {
			e.Outcome, e.Detail["code"] = audit.Denied, dec.Code
		}
		_, err = tx.Record(e)
		return err
	})
	return dec, err
}

// refuseCheck leaves the one event of a check that asks for a fresh proof.
func refuseCheck(tx *store.Tx, e audit.Event, err error) error {
	var r *identity.Refusal
	if !errors.As(err, &r) {
		return err
	}
	e.Outcome = audit.Denied
	e.Detail["decision"], e.Detail["code"] = "step_up", r.Code
	if _, err := tx.Record(e); err != nil {
		return err
	}
	return r
}

func actionName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '.' && r != '-' && r != ':' {
			return false
		}
	}
	return true
}

// Witness passes the gate of one of Mitral's own acts that only reads, and
// records that it was read, in one transaction.
func (m *Machine) Witness(ctx context.Context, who Who, action, operation string, e audit.Event) error {
	return m.Act(ctx, who, who.Live.WorkspaceID, action, operation, nil, func(tx *store.Tx) error {
		_, err := tx.Record(e)
		return err
	})
}
