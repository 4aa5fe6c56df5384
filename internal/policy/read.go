package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mitral-health/mitral/internal/identity"
)

// FieldError is one thing wrong with a document: the field by its dotted path
// ("roles.nurse.idle"; "" is the document itself), a stable code, and a plain
// sentence. Values that were sent are never repeated.
type FieldError = identity.FieldError

// The codes of field errors.
const (
	CodeMalformed = "malformed"     // not JSON, or not UTF-8
	CodeDuplicate = "duplicate"     // the same name or word twice
	CodeUnknown   = "unknown"       // a name or word the policy doesn't have
	CodeType      = "wrong_type"    // a number for a text and the like
	CodeBounds    = "out_of_bounds" // too small, too large, too many
	CodeMissing   = "missing"       // nothing sensible can stand in for it
	CodeConflict  = "conflict"      // two parts that can't both be meant
)

// Bounds on the document as a whole.
const (
	maxDocument = 128 << 10
	maxRoles    = 50
	maxActions  = 200
)

var (
	roleName   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	actionName = regexp.MustCompile(`^[a-z][a-z0-9_.:-]{0,63}$`)
	fieldName  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.:-]{0,63}$`)
	nodeName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)
)

// reader collects what is wrong while a document is read.
type reader struct{ errors []FieldError }

func (r *reader) refuse(field, code, detail string) {
	r.errors = append(r.errors, FieldError{Field: field, Code: code, Detail: detail})
}

// tree reads JSON into maps, slices, strings, bools and json.Numbers. Unlike
// encoding/json alone it refuses duplicate names, and names keep their case.
func (r *reader) tree(data []byte) map[string]any {
	if len(data) > maxDocument {
		r.refuse("", CodeBounds, "a policy has at most 128 KiB")
		return nil
	}
	if !utf8.Valid(data) || !json.Valid(data) {
		r.refuse("", CodeMalformed, "this is not one JSON document in UTF-8")
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	members, isObject := r.value(d, "").(map[string]any)
	if !isObject {
		r.refuse("", CodeType, "a policy is a JSON object")
	}
	return members
}

// value reads the next value; the text is known to be valid JSON.
func (r *reader) value(d *json.Decoder, path string) any {
	token, _ := d.Token()
	switch token {
	case json.Delim('{'):
		members := map[string]any{}
		for d.More() {
			token, _ := d.Token()
			name, _ := token.(string)
			if _, twice := members[name]; twice {
				r.refuse(join(path, name), CodeDuplicate, "this name stands here twice")
			}
			members[name] = r.value(d, join(path, name))
		}
		_, _ = d.Token()
		return members
	case json.Delim('['):
		items := []any{}
		for d.More() {
			items = append(items, r.value(d, path))
		}
		_, _ = d.Token()
		return items
	}
	return token
}

// join makes a dotted path. What doesn't look like a field's name is "?", so that
// nothing sent by mistake is echoed.
func join(path, name string) string {
	if !fieldName.MatchString(name) {
		name = "?"
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// object is a JSON object being read: what is taken is known, what is left over
// at close is unknown. A missing object is an empty one.
type object struct {
	*reader
	path    string
	members map[string]any
}

func (o object) at(name string) string { return join(o.path, name) }

func (o object) take(name string) (any, bool) {
	value, found := o.members[name]
	delete(o.members, name)
	return value, found
}

func (o object) names() []string { return slices.Sorted(maps.Keys(o.members)) }

func (o object) close() {
	for _, name := range o.names() {
		o.refuse(o.at(name), CodeUnknown, "the policy has no such field")
	}
}

// taken returns a member of the wanted kind, or the default when it is missing
// or refused.
func taken[T any](o object, name string, missing T, kind string) (T, bool) {
	value, found := o.take(name)
	if !found {
		return missing, false
	}
	v, right := value.(T)
	if !right {
		o.refuse(o.at(name), CodeType, "this is "+kind)
		return missing, false
	}
	return v, true
}

func (o object) object(name string) object {
	members, _ := taken(o, name, map[string]any{}, "an object")
	return object{o.reader, o.at(name), members}
}

func (o object) boolean(name string, missing bool) bool {
	v, _ := taken(o, name, missing, "true or false")
	return v
}

func (o object) integer(name string, missing, least, most int) int {
	number, found := taken(o, name, json.Number(""), "a whole number")
	if !found {
		return missing
	}
	if strings.ContainsAny(number.String(), ".eE") {
		o.refuse(o.at(name), CodeType, "this is a whole number, written with digits only")
		return missing
	}
	n, err := strconv.Atoi(number.String())
	if err != nil || n < least || n > most {
		o.refuse(o.at(name), CodeBounds, fmt.Sprintf("this is %d to %d", least, most))
		return missing
	}
	return n
}

func (o object) duration(name string, missing Duration, least, most time.Duration, bounds string) Duration {
	text, found := taken(o, name, "", `a time in quotes, such as "15m"`)
	if !found {
		return missing
	}
	value, readable := parseDuration(text)
	if !readable {
		o.refuse(o.at(name), CodeType, `this is a time such as "90s", "15m", "12h" or "7d"`)
		return missing
	}
	if value < least || value > most {
		o.refuse(o.at(name), CodeBounds, "this is "+bounds)
		return missing
	}
	return Duration(text)
}

// word reads one of some words.
func (o object) word(name, missing string, words ...string) string {
	text, found := taken(o, name, missing, "a word in quotes")
	if found && !slices.Contains(words, text) {
		o.refuse(o.at(name), CodeUnknown, "this is one of: "+strings.Join(words, ", "))
		return missing
	}
	return text
}

// name reads a name of the given shape.
func (o object) name(name, missing string, shape *regexp.Regexp) string {
	text, found := taken(o, name, missing, "a name in quotes")
	if found && !shape.MatchString(text) {
		o.refuse(o.at(name), CodeUnknown, "this is no name that can be used here")
		return missing
	}
	return text
}

// list reads a list of words without repeats; wrong says what is wrong with one
// of them, "" when nothing is.
func (o object) list(name string, missing []string, wrong func(string) string) []string {
	items, found := taken(o, name, []any{}, "a list of words")
	if !found {
		return slices.Clone(missing)
	}
	if len(items) > maxActions {
		o.refuse(o.at(name), CodeBounds, fmt.Sprintf("this list has at most %d entries", maxActions))
		return missing
	}
	words := []string{}
	for _, item := range items {
		word, isText := item.(string)
		switch detail := ""; {
		case !isText:
			o.refuse(o.at(name), CodeType, "this is a list of words in quotes")
		case slices.Contains(words, word):
			o.refuse(o.at(name), CodeDuplicate, "a word stands here twice")
		default:
			if detail = wrong(word); detail != "" {
				o.refuse(o.at(name), CodeUnknown, detail)
				continue
			}
			words = append(words, word)
		}
	}
	return words
}

// oneOf is list's test for a closed set of words.
func oneOf(words ...string) func(string) string {
	return func(word string) string {
		if slices.Contains(words, word) {
			return ""
		}
		return "this lists only: " + strings.Join(words, ", ")
	}
}

// someOf reads a list of some words that must not be empty.
func (o object) someOf(name string, missing []string, words ...string) []string {
	list := o.list(name, missing, oneOf(words...))
	if len(list) == 0 {
		o.refuse(o.at(name), CodeMissing, "this needs at least one of: "+strings.Join(words, ", "))
	}
	return list
}
