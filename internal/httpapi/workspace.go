package httpapi

import (
	"context"
	"encoding/json"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/signin"
)

func (a *API) workspaceRoutes() {
	const tag = "Workspace"
	add(a, route{method: "GET", path: "/api/v1/workspaces", id: "list-workspaces", tag: tag, need: active,
		summary: "The workspaces that the person belongs to: one"}, a.workspaces)
	add(a, route{method: "GET", path: "/api/v1/workspaces/{id}", id: "get-workspace", tag: tag, need: active,
		summary: "The person's workspace"}, a.workspace)
	add(a, route{method: "GET", path: "/api/v1/policy", id: "get-policy", tag: tag, need: active,
		summary: "The policy document (administrators)"}, a.policy)
	add(a, route{method: "PUT", path: "/api/v1/policy", id: "change-policy", tag: tag, need: active, raw: policySchema(a.huma.OpenAPI().Components.Schemas),
		summary: "Replace the policy document whole, under If-Match; a loosening needs Mitral-Reason (step-up: policy)"}, a.putPolicy)
	add(a, route{method: "GET", path: "/api/v1/devices", id: "list-devices", tag: tag, need: active,
		summary: "The browsers seen in the workspace (administrators)"}, a.devices)
	add(a, route{method: "GET", path: "/api/v1/plans", id: "list-plans", tag: tag, need: active,
		summary: "The plan that the workspace is on"}, a.plans)
}

type workspacesAnswer struct {
	Body struct {
		Workspaces []directory.Workspace `json:"workspaces"`
	}
}

func (a *API) workspaces(ctx context.Context, who signin.Who, _ *none) (*workspacesAnswer, error) {
	w, err := a.Directory.Workspace(ctx, who.Live.WorkspaceID)
	out := &workspacesAnswer{}
	out.Body.Workspaces = []directory.Workspace{w}
	return out, err
}

type workspaceInput struct {
	ID string `path:"id" maxLength:"64"`
}

type workspaceAnswer struct{ Body directory.Workspace }

// workspace answers another workspace as it answers none.
func (a *API) workspace(ctx context.Context, who signin.Who, in *workspaceInput) (*workspaceAnswer, error) {
	if in.ID != who.Live.WorkspaceID {
		return nil, identity.Refuse(identity.Unknown, "unknown_workspace", "There is no such workspace here.")
	}
	w, err := a.Directory.Workspace(ctx, in.ID)
	return &workspaceAnswer{w}, err
}

// policyBody is the document as package policy writes it.
type policyBody struct{ json.RawMessage }

// Schema is that of the document's Go type.
func (policyBody) Schema(r huma.Registry) *huma.Schema { return policySchema(r) }

type policyAnswer struct {
	ETag string `header:"ETag"`
	Body policyBody
}

func (a *API) policy(ctx context.Context, who signin.Who, _ *none) (*policyAnswer, error) {
	doc, rev, err := a.Directory.Policy(ctx, who, who.Live.WorkspaceID)
	return &policyAnswer{directory.ETag(rev), policyBody{doc.JSON()}}, err
}

type putPolicyInput struct {
	IfMatch string `header:"If-Match" maxLength:"64"`
	Reason  string `header:"Mitral-Reason" doc:"Why the policy becomes less strict; needed where it does."`
	RawBody []byte
}

func (a *API) putPolicy(ctx context.Context, who signin.Who, in *putPolicyInput) (*policyAnswer, error) {
	if err := headerText("reason", in.Reason, 2000); err != nil {
		return nil, err
	}
	doc, rev, err := a.Directory.PutPolicy(ctx, who, who.Live.WorkspaceID, in.IfMatch, in.RawBody, in.Reason)
	return &policyAnswer{directory.ETag(rev), policyBody{doc.JSON()}}, err
}

// policySchema describes the document; package policy itself checks it.
func policySchema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[policy.Document](), true, "Policy")
}

type device struct {
	ID           string    `json:"id"`
	Kind         string    `json:"kind,omitempty"`
	Label        string    `json:"label,omitempty"`
	CreatedAt    time.Time `json:"created_at"`
	SeenAt       time.Time `json:"seen_at,omitzero"`
	RegisteredAt time.Time `json:"registered_at,omitzero"`
}

type devicesAnswer struct {
	Body struct {
		Devices []device `json:"devices"`
	}
}

func (a *API) devices(ctx context.Context, who signin.Who, _ *none) (*devicesAnswer, error) {
	devices, err := a.Directory.Devices(ctx, who, who.Live.WorkspaceID)
	if err != nil {
		return nil, err
	}
	out := &devicesAnswer{}
	out.Body.Devices = []device{}
	for _, d := range devices {
		out.Body.Devices = append(out.Body.Devices, device{d.ID, d.Kind, d.Label, d.CreatedAt, d.SeenAt, d.Registered})
	}
	return out, nil
}

type plan struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	State string `json:"state" enum:"active"`
}

type plansAnswer struct {
	Body struct {
		Plans []plan `json:"plans"`
	}
}

// plans answers the one plan of a server that the clinic runs itself: all of it.
func (a *API) plans(context.Context, signin.Who, *none) (*plansAnswer, error) {
	out := &plansAnswer{}
	out.Body.Plans = []plan{{ID: "self_hosted", Name: "Self-hosted", State: "active"}}
	return out, nil
}
