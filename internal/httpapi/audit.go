package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/signin"
)

func (a *API) auditRoutes() {
	const tag = "Audit"
	add(a, route{method: "GET", path: "/api/v1/audit/events", id: "list-events", tag: tag, need: active,
		summary: "The workspace's events, newest first (administrators and reviewers; step-up: audit_read)"}, a.auditEvents)
	add(a, route{method: "GET", path: "/api/v1/audit/export", id: "export-events", tag: tag, need: active,
		summary: "The workspace's events as a file: jsonl, csv or fhir (step-up: audit_export)"}, a.export)
	add(a, route{method: "GET", path: "/api/v1/audit/checkpoint", id: "get-checkpoint", tag: tag, need: active,
		summary: "The newest signed checkpoint (C2SP tlog-checkpoint) and the keys to verify it"}, a.checkpoint)
	add(a, route{method: "GET", path: "/api/v1/audit/proof/inclusion", id: "prove-inclusion", tag: tag, need: active,
		summary: "That a leaf is in the log (RFC 6962 §2.1.1)"}, a.inclusion)
	add(a, route{method: "GET", path: "/api/v1/audit/proof/consistency", id: "prove-consistency", tag: tag, need: active,
		summary: "That a log begins with an earlier one (RFC 6962 §2.1.2)"}, a.consistency)
}

type eventsInput struct {
	From   time.Time `query:"from" doc:"RFC 3339."`
	To     time.Time `query:"to" doc:"RFC 3339, exclusive."`
	User   string    `query:"user" maxLength:"64" doc:"Who acted, or whom it is about."`
	Type   string    `query:"type" maxLength:"64" doc:"A type (sign_in.key_pin) or its subject (sign_in)."`
	Grant  string    `query:"grant" maxLength:"64"`
	Before int64     `query:"before" minimum:"0" doc:"Only events of a smaller index: for the next page."`
	Limit  int       `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Log    int64     `query:"log" minimum:"0" doc:"0 is the current log."`
}

// event is a leaf's members with its place and its sentence beside them.
type event map[string]any

// Schema names the members that every event has.
func (event) Schema(huma.Registry) *huma.Schema {
	text := func(doc string) *huma.Schema { return &huma.Schema{Type: huma.TypeString, Description: doc} }
	number := &huma.Schema{Type: huma.TypeInteger, Format: "int64"}
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Properties: map[string]*huma.Schema{
		"id": text(""), "at": text("UTC, microseconds."), "type": text(""), "outcome": text("success, denied or failure."), "index": number, "log": number,
		"sentence": text("The event in words.")}, Required: []string{"id", "at", "type", "outcome", "index", "log", "sentence"}}
}

type eventsAnswer struct {
	Body struct {
		Events []event `json:"events"`
	}
}

func (a *API) auditEvents(ctx context.Context, who signin.Who, in *eventsInput) (*eventsAnswer, error) {
	err := a.Signin.Witness(ctx, who, policy.ActAuditRead, "list-events", audit.Event{Type: "audit.read", Outcome: audit.Success, Detail: audit.Detail{"what": "events"}})
	if err != nil {
		return nil, err
	}
	entries, err := a.Recorder.Events(ctx, who.Live.WorkspaceID, record.Filter{Log: in.Log, Before: in.Before, Limit: in.Limit, From: in.From, To: in.To,
		User: in.User, Kind: in.Type, Grant: in.Grant})
	if err != nil {
		return nil, err
	}
	names, err := a.Directory.Names(ctx, who.Live.WorkspaceID)
	if err != nil {
		return nil, err
	}
	out := &eventsAnswer{}
	out.Body.Events = []event{}
	for _, e := range entries {
		members := event{}
		if err := json.Unmarshal([]byte(e.Leaf), &members); err != nil {
			return nil, err
		}
		members["index"], members["log"], members["sentence"] = e.Index, e.Log, record.Sentence(e, names)
		out.Body.Events = append(out.Body.Events, members)
	}
	return out, nil
}

type exportInput struct {
	Format string    `query:"format" required:"true" enum:"jsonl,csv,fhir"`
	From   time.Time `query:"from" doc:"RFC 3339."`
	To     time.Time `query:"to" doc:"RFC 3339, exclusive."`
}

type fileAnswer struct {
	Body func(huma.Context)
}

// fileTypes are the exports' media types and the endings of their files.
var fileTypes = map[string][2]string{
	record.FormatJSONL: {"application/jsonl; charset=utf-8", "jsonl"},
	record.FormatCSV:   {"text/csv; charset=utf-8", "csv"},
	record.FormatFHIR:  {"application/fhir+ndjson; charset=utf-8", "ndjson"},
}

// export streams the workspace's record. What breaks off midway is cut, so that
// it cannot be taken for the whole.
func (a *API) export(ctx context.Context, who signin.Who, in *exportInput) (*fileAnswer, error) {
	detail := audit.Detail{"format": in.Format}
	for name, t := range map[string]time.Time{"from": in.From, "to": in.To} {
		if !t.IsZero() {
			detail[name] = t.UTC().Format(time.RFC3339)
		}
	}
	err := a.Signin.Witness(ctx, who, policy.ActAuditExport, "export-events", audit.Event{Type: "audit.export", Outcome: audit.Success, Detail: detail})
	if err != nil {
		return nil, err
	}
	want := record.ExportInput{Format: in.Format, WorkspaceID: who.Live.WorkspaceID, From: in.From, To: in.To}
	return &fileAnswer{func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		file := &lazyFile{w: w, kind: fileTypes[in.Format]}
		err := a.Export(ctx, want, file)
		switch {
		case err != nil && file.begun:
			a.Log.ErrorContext(ctx, "an export broke off", "request_id", edge.RequestID(ctx), "error", err.Error())
			panic(http.ErrAbortHandler)
		case err != nil:
			edge.WriteProblem(w, r, err)
		case !file.begun:
			_, _ = file.Write(nil)
		}
	}}, nil
}

// lazyFile begins the answer with its first bytes, so that a refusal before
// them can still be one.
type lazyFile struct {
	w     http.ResponseWriter
	kind  [2]string
	begun bool
}

func (f *lazyFile) Write(b []byte) (int, error) {
	if !f.begun {
		f.begun = true
		f.w.Header().Set("Content-Type", f.kind[0])
		f.w.Header().Set("Content-Disposition", `attachment; filename="mitral-audit.`+f.kind[1]+`"`)
	}
	return f.w.Write(b)
}

// mayRead refuses those whom the record is not for. Checkpoints and proofs say
// nothing about anybody, and leave no event.
func (a *API) mayRead(ctx context.Context, who signin.Who, operation string) error {
	if err := a.Signin.Allowed(ctx, who, policy.ActAuditRead); err != nil {
		return a.Signin.RecordRefusal(ctx, who, who.Live.WorkspaceID, operation, err)
	}
	return nil
}

type checkpointAnswer struct {
	Body struct {
		Checkpoint   string   `json:"checkpoint" doc:"A signed note."`
		VerifierKeys []string `json:"verifier_keys" doc:"name+hash+base64, as golang.org/x/mod/sumdb/note reads them."`
	}
}

func (a *API) checkpoint(ctx context.Context, who signin.Who, _ *none) (*checkpointAnswer, error) {
	if err := a.mayRead(ctx, who, "get-checkpoint"); err != nil {
		return nil, err
	}
	note, err := a.Recorder.Latest(ctx)
	if err != nil {
		return nil, err
	}
	out := &checkpointAnswer{}
	out.Body.Checkpoint, out.Body.VerifierKeys = note, []string{a.Keys.LogVerifierKey()}
	return out, nil
}

type inclusionInput struct {
	Index int64 `query:"index" required:"true"`
	Size  int64 `query:"size" required:"true"`
	Log   int64 `query:"log" minimum:"0" doc:"0 is the current log."`
}

type consistencyInput struct {
	From int64 `query:"from" required:"true"`
	To   int64 `query:"to" required:"true"`
	Log  int64 `query:"log" minimum:"0" doc:"0 is the current log."`
}

type proofAnswer struct {
	Body struct {
		Proof [][]byte `json:"proof" doc:"Hashes of 32 bytes, base64, in RFC 6962 order."`
	}
}

func proof(hashes [][]byte, err error) (*proofAnswer, error) {
	if err != nil {
		return nil, err
	}
	out := &proofAnswer{}
	out.Body.Proof = append([][]byte{}, hashes...)
	return out, nil
}

func (a *API) inclusion(ctx context.Context, who signin.Who, in *inclusionInput) (*proofAnswer, error) {
	if err := a.mayRead(ctx, who, "prove-inclusion"); err != nil {
		return nil, err
	}
	return proof(a.Recorder.Inclusion(ctx, in.Log, in.Index, in.Size))
}

func (a *API) consistency(ctx context.Context, who signin.Who, in *consistencyInput) (*proofAnswer, error) {
	if err := a.mayRead(ctx, who, "prove-consistency"); err != nil {
		return nil, err
	}
	return proof(a.Recorder.Consistency(ctx, in.Log, in.From, in.To))
}
