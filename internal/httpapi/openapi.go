package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mitral-health/mitral/internal/edge"
)

// elsewhere marks operations of the document that another door serves, or that
// this one serves outside the adapter.
const elsewhere = "x-mitral-door"

// document is the API before it has routes.
func document(version string) huma.Config {
	if version == "" {
		version = "0"
	}
	c := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{Title: "Mitral", Version: version,
				Description: "Sign-in, sessions, emergency access and their record, for clinics. Errors are RFC 9457 problem documents with a stable code."},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"session": {Type: "apiKey", In: "cookie", Name: "authjs.session-token",
						Description: "The session cookie; its name begins with __Secure- on https and is next-auth.session-token for v4 clients."},
					"token": {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "An access token from POST /api/v1/session/token."},
				},
			},
		},
		// "json" is for media types that end in +json: the problem documents.
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
	}
	// Members may be added to what is sent; the ones that are not known are not
	// looked at.
	c.AllowAdditionalPropertiesByDefault = true
	return c
}

// schemaName names the document's schemas after what they are: bodies by
// request and answer, and the policy's and the grants' own parts by those.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch path.Base(t.PkgPath()) {
	case "policy":
		return "Policy" + strings.TrimPrefix(name, "Document")
	case "breakglass":
		return "BreakGlass" + name
	}
	name = strings.Replace(name, "InputBody", "Request", 1)
	name = strings.Replace(name, "AnswerBody", "Answer", 1)
	return strings.ReplaceAll(strings.ReplaceAll(name, "SessionDoc", "Session"), "Struct", "")
}

// raw serves a route outside the adapter: no JSON object in or out.
func (a *API) raw(pattern string, handle http.HandlerFunc) {
	a.routes.HandleFunc(pattern, handle)
	a.outside = append(a.outside, pattern)
}

// jwks answers the keys that access tokens are verified with (RFC 7517).
func (a *API) jwks(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(a.Keys.JWKS(a.Now()))
}

// others are the operations that are not this adapter's, for the reader of the
// document: method, path, whose, what.
var others = []struct{ method, path, tag, door, id, summary string }{
	{"GET", "/api/v1/openapi.json", "Applications", "httpapi", "get-openapi", "This document"},
	{"GET", "/.well-known/jwks.json", "Applications", "httpapi", "get-jwks", "The keys of access tokens (RFC 7517)"},
	{"GET", "/api/v1/authz/forward", "Applications", "edge", "forward", "For reverse proxies: may this request pass, and whose is it"},
	{"GET", "/api/v1/session/events", "Session", "httpapi", "session-events", "Server-sent events of the session: locked, unlocked, ended"},
	{"GET", "/api/v1/session/resume", "Session", "web", "resume-session", "Renew from the refresh cookie on a page load, then go to callbackUrl"},
	{"GET", "/api/v1/auth/session", "Auth.js", "authjs", "get-session", "The Auth.js session, or null ({} for v4 clients)"},
	{"POST", "/api/v1/auth/session", "Auth.js", "authjs", "update-session", "The Auth.js client's update()"},
	{"GET", "/api/v1/auth/csrf", "Auth.js", "authjs", "get-csrf", "The token that Auth.js posts carry"},
	{"GET", "/api/v1/auth/providers", "Auth.js", "authjs", "get-providers", "The ways to sign in that Auth.js clients can start"},
	{"POST", "/api/v1/auth/signin/{provider}", "Auth.js", "authjs", "start-sign-in", "Start another way to sign in"},
	{"POST", "/api/v1/auth/callback/{provider}", "Auth.js", "authjs", "sign-in-credentials", "Sign in by credentials: identifier, key, pin"},
	{"POST", "/api/v1/auth/signout", "Auth.js", "authjs", "sign-out", "Sign out"},
}

// openAPIRoutes completes the document and serves it as it is from then on.
func (a *API) openAPIRoutes() error {
	doc := a.huma.OpenAPI()
	for _, o := range others {
		op := &huma.Operation{OperationID: o.id, Method: o.method, Path: o.path, Summary: o.summary, Tags: []string{o.tag},
			Responses:  map[string]*huma.Response{"200": {Description: "OK"}},
			Extensions: map[string]any{elsewhere: o.door}}
		for _, name := range pathNames(o.path) {
			op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
		}
		if o.method == http.MethodPost {
			op.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{
				"application/x-www-form-urlencoded": {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}}}}
		}
		doc.AddOperation(op)
	}
	for _, s := range doc.Components.Schemas.Map() {
		for name := range s.Properties {
			a.fields[name] = true
		}
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("couldn't write the OpenAPI document: %w", err)
	}
	a.openAPI = append(text, '\n')
	a.raw("GET /api/v1/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(a.openAPI)
	})
	return nil
}

// OpenAPI returns the document (OpenAPI 3.1, JSON).
func (a *API) OpenAPI() []byte { return a.openAPI }

func pathNames(path string) []string {
	var names []string
	for _, part := range strings.Split(path, "/") {
		if strings.HasPrefix(part, "{") && strings.HasSuffix(part, "}") {
			names = append(names, part[1:len(part)-1])
		}
	}
	return names
}

func operations(item *huma.PathItem) map[string]*huma.Operation {
	all := map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put,
		http.MethodPatch: item.Patch, http.MethodDelete: item.Delete}
	for method, op := range all {
		if op == nil {
			delete(all, method)
		}
	}
	return all
}

// Mount adds the routes to a mux that stands behind edge.Wrap; what is not there
// under /api/v1/ is answered as a problem document.
func (a *API) Mount(mux *http.ServeMux) {
	for path, item := range a.huma.OpenAPI().Paths {
		for method, op := range operations(item) {
			if op.Extensions[elsewhere] == nil {
				mux.Handle(method+" "+path, a.routes)
			}
		}
	}
	for _, pattern := range a.outside {
		mux.Handle(pattern, a.routes)
	}
	mux.HandleFunc(everythingElse, func(w http.ResponseWriter, r *http.Request) { notHere(mux, w, r) })
}

const everythingElse = "/api/v1/"

// notHere answers 404, or 405 where another method would be served.
func notHere(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != everythingElse && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		edge.WriteStatus(w, r, http.StatusNotFound, "not_found", "There is nothing under this address.")
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	edge.WriteStatus(w, r, http.StatusMethodNotAllowed, "method_not_allowed", "This address is not called that way: see the header Allow.")
}
