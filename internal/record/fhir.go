package record

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/store"
)

// Code systems.
const (
	dicom         = "http://dicom.nema.org/resources/ontology/DCM"
	actReason     = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
	sourceType    = "http://terminology.hl7.org/CodeSystem/security-source-type"
	entityType    = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
	objectRole    = "http://terminology.hl7.org/CodeSystem/object-role"
	mitralEvent   = "urn:mitral:event"
	mitralUser    = "urn:mitral:user"
	mitralCode    = "urn:mitral:sealed-code"
	mitralSession = "urn:mitral:session"
	mitralGrant   = "urn:mitral:break-glass"
	mitralLeaf    = "urn:mitral:leaf"
)

// AuditEvent is a FHIR R4 AuditEvent, as far as Mitral writes one.
type AuditEvent struct {
	ResourceType string    `json:"resourceType"`
	ID           string    `json:"id"`
	Type         Coding    `json:"type"`
	Subtype      []Coding  `json:"subtype"`
	Action       string    `json:"action"`
	Recorded     string    `json:"recorded"`
	Outcome      string    `json:"outcome"`
	OutcomeDesc  string    `json:"outcomeDesc,omitempty"`
	Purpose      []Concept `json:"purposeOfEvent,omitempty"`
	Agent        []Agent   `json:"agent"`
	Source       Source    `json:"source"`
	Entity       []Entity  `json:"entity"`
}

// Coding is a code of a system.
type Coding struct {
	System  string `json:"system"`
	Code    string `json:"code"`
	Display string `json:"display,omitempty"`
}

// Concept is a FHIR CodeableConcept.
type Concept struct {
	Coding []Coding `json:"coding"`
}

// Reference names something by its identifier, without a server to fetch it
// from.
type Reference struct {
	Identifier *Identifier `json:"identifier,omitempty"`
	Display    string      `json:"display,omitempty"`
}

// Identifier is a value within a system.
type Identifier struct {
	System string `json:"system"`
	Value  string `json:"value"`
}

// Agent is who acted.
type Agent struct {
	Who       Reference `json:"who"`
	Requestor bool      `json:"requestor"`
	Network   *Network  `json:"network,omitempty"`
}

// Network is the address acted from.
type Network struct {
	Address string `json:"address"`
	Type    string `json:"type"` // 2: an IP address
}

// Source is the system that recorded.
type Source struct {
	Site     string    `json:"site,omitempty"`
	Observer Reference `json:"observer"`
	Type     []Coding  `json:"type"`
}

// Entity is what the event is about.
type Entity struct {
	What   Reference `json:"what"`
	Type   Coding    `json:"type"`
	Role   *Coding   `json:"role,omitempty"`
	Detail []Detail  `json:"detail,omitempty"`
}

// Detail is one member of the leaf that FHIR has no place for.
type Detail struct {
	Type  string `json:"type"`
	Value string `json:"valueString"`
}

// coded is how a type of event is told in DICOM's words (PS3.16 CID 400, 401).
type coded struct{ kind, subtype, action string }

var displays = map[string]string{
	"110100": "Application Activity", "110101": "Audit Log Used", "110106": "Export", "110113": "Security Alert",
	"110114": "User Authentication", "110122": "Login", "110123": "Logout", "110127": "Emergency Override Started",
	"110129": "Security Configuration", "110132": "Use of Restricted Function", "110134": "Audit Recording Started",
	"110136": "Security Roles Changed", "110137": "User Security Attributes Changed", "110138": "Emergency Override Stopped",
}

// codes has types, and subjects for all other types of theirs.
var codes = map[string]coded{
	"sign_in":            {"110114", "110122", "E"},
	"sign_out":           {"110114", "110123", "E"},
	"session":            {"110114", "", "E"},
	"session.end":        {"110114", "110123", "E"},
	"step_up":            {"110114", "", "E"},
	"authz":              {"110113", "110132", "E"},
	"break_glass":        {"110113", "", "E"},
	"break_glass.start":  {"110113", "110127", "E"},
	"break_glass.end":    {"110113", "110138", "E"},
	"break_glass.expire": {"110113", "110138", "E"},
	"claim":              {"110113", "110137", "U"},
	"factor":             {"110113", "110137", "U"},
	"user":               {"110113", "110137", "U"},
	"user.create":        {"110113", "110137", "C"},
	"user.role":          {"110113", "110136", "U"},
	"policy":             {"110113", "110129", "U"},
	"workspace":          {"110113", "110129", "C"},
	"device":             {"110113", "110129", "U"},
	"keys":               {"110113", "110129", "U"},
	"audit.read":         {"110101", "", "R"},
	"audit.export":       {"110106", "", "R"},
	"audit.key":          {"110113", "110129", "U"},
	"audit.restored":     {"110113", "110134", "E"},
	"backup":             {"110106", "", "R"},
	"message":            {"110100", "", "E"},
}

var otherwiseCoded = coded{"110113", "", "E"}

func codesOf(eventType string) coded {
	if c, ok := codes[eventType]; ok {
		return c
	}
	subject, _, _ := strings.Cut(eventType, ".")
	if c, ok := codes[subject]; ok {
		return c
	}
	return otherwiseCoded
}

func exportFHIR(tx *store.SystemTx, in ExportInput, w io.Writer) error {
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	return walkEvents(tx, in, func(e Entry) error { return lines.Encode(FHIR(e)) })
}

// FHIR tells an event as an R4 AuditEvent. Everything that the leaf holds is in
// it; ids have hyphens for underscores.
func FHIR(e Entry) AuditEvent {
	c := codesOf(e.Type)
	a := AuditEvent{
		ResourceType: "AuditEvent", ID: strings.ReplaceAll(e.ID, "_", "-"), Type: dicomCode(c.kind), Action: c.action,
		Recorded: e.At.Format(leafTime), Outcome: fhirOutcome(e.Event),
		Source: Source{Site: e.Workspace, Observer: Reference{Display: "Mitral"}, Type: []Coding{{sourceType, "6", "Security Server"}}},
		Agent:  []Agent{fhirAgent(e.Event)},
	}
	if c.subtype != "" {
		a.Subtype = append(a.Subtype, dicomCode(c.subtype))
	}
	a.Subtype = append(a.Subtype, Coding{System: mitralEvent, Code: e.Type})
	if a.Outcome != "0" {
		a.OutcomeDesc = string(e.Outcome)
	}
	if p := purposeOf(e.Event); p != "" {
		a.Purpose = []Concept{{[]Coding{{System: actReason, Code: p}}}}
	}
	leaf := Entity{What: Reference{Identifier: &Identifier{mitralLeaf, fmt.Sprintf("%d/%d", e.Log, e.Index)}}, Type: Coding{entityType, "2", "System Object"}}
	for _, m := range []Detail{{"method", e.Method}, {"user_agent", e.Client.UserAgent}, {"device_id", e.Client.Device}} {
		if m.Value != "" {
			leaf.Detail = append(leaf.Detail, m)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Detail)) {
		leaf.Detail = append(leaf.Detail, Detail{name, detailText(e.Event, name, func(s string) string { return s })})
	}
	a.Entity = []Entity{leaf}
	if e.User != "" {
		a.Entity = append(a.Entity, Entity{What: Reference{Identifier: &Identifier{mitralUser, e.User}}, Type: Coding{entityType, "1", "Person"},
			Role: &Coding{objectRole, "11", "Security User Entity"}})
	}
	for _, thing := range []Identifier{{mitralSession, e.Session}, {mitralGrant, e.Grant}} {
		if thing.Value != "" {
			a.Entity = append(a.Entity, Entity{What: Reference{Identifier: &thing}, Type: Coding{entityType, "2", "System Object"}})
		}
	}
	return a
}

func dicomCode(code string) Coding { return Coding{dicom, code, displays[code]} }

// fhirOutcome sorts outcomes (audit-event-outcome): a refusal is minor, an
// attack or a fault serious.
func fhirOutcome(e audit.Event) string {
	switch {
	case e.Outcome == audit.Success:
		return "0"
	case e.Outcome == audit.Failure, e.Type == "session.reuse", strings.HasSuffix(e.Type, ".flood"):
		return "8"
	}
	return "4"
}

// purposeOf is the purpose of use (HL7 v3 ActReason). A drill has none: nobody
// was treated.
func purposeOf(e audit.Event) string {
	if drill, _ := e.Detail["drill"].(bool); drill {
		return ""
	}
	if e.Purpose == "" && e.Type == "break_glass.start" && e.Outcome == audit.Success {
		if e.Detail["category"] == "patient_emergency" {
			return "ETREAT"
		}
		return "BTG"
	}
	return e.Purpose
}

func fhirAgent(e audit.Event) Agent {
	a := Agent{Requestor: true}
	label, isCode := strings.CutPrefix(e.Actor, audit.CodeActor(""))
	switch {
	case isCode:
		a.Who.Identifier = &Identifier{mitralCode, label}
	case strings.HasPrefix(e.Actor, identity.UserID+"_"):
		a.Who.Identifier = &Identifier{mitralUser, e.Actor}
	case e.Actor == audit.ActorSystem:
		a.Who.Display = "Mitral"
	case e.Actor == audit.ActorCLI:
		a.Who.Display = "Mitral's command line"
	default:
		a.Who.Display = "unknown"
	}
	if ip := e.Client.Address(); ip != "" {
		a.Network = &Network{ip, "2"}
	}
	return a
}
