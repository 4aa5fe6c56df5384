package view

import "github.com/a-h/templ"

// field is one labelled input. Its id is the name, after prefix where a page
// has two of that name.
type field struct {
	prefix, name, label, optional, hint, value, wrong string
	kind, autocomplete, mode, placeholder, class      string
	required, focus, readOnly                         bool
	more                                              templ.Attributes
}

func (f field) id() string { return f.prefix + f.name }

// describedBy names the elements that explain the field, or "".
func (f field) describedBy() string {
	switch {
	case f.hint != "" && f.wrong != "":
		return f.id() + "-wrong " + f.id() + "-hint"
	case f.wrong != "":
		return f.id() + "-wrong"
	case f.hint != "":
		return f.id() + "-hint"
	}
	return ""
}

// attributes of the control itself, for every kind of it.
func (f field) attributes() templ.Attributes {
	a := templ.Attributes{"id": f.id(), "name": f.name}
	for name, value := range map[string]string{
		"autocomplete": f.autocomplete, "inputmode": f.mode, "placeholder": f.placeholder,
		"class": f.class, "aria-describedby": f.describedBy(),
	} {
		if value != "" {
			a[name] = value
		}
	}
	if f.wrong != "" {
		a["aria-invalid"] = "true"
	}
	for name, on := range map[string]bool{
		"required": f.required, "autofocus": f.focus, "readonly": f.readOnly,
	} {
		if on {
			a[name] = true
		}
	}
	for name, value := range f.more {
		a[name] = value
	}
	return a
}

// plainText switches off the help that gets in the way of codes and free words.
func plainText() templ.Attributes {
	return templ.Attributes{"spellcheck": "false", "autocapitalize": "none"}
}

// notAPassword keeps password managers away from a PIN or code.
func notAPassword(more templ.Attributes) templ.Attributes {
	a := templ.Attributes{"data-1p-ignore": true, "data-lpignore": "true", "data-bwignore": true, "spellcheck": "false"}
	for name, value := range more {
		a[name] = value
	}
	return a
}
