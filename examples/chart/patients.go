package chart

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"strings"
	"sync"
	"time"
)

const maxNote = 4000 // characters

type patient struct {
	ID         string
	Name       string
	Born       string
	Allergies  string
	Reason     string
	Restricted bool
	Note       string
	SavedBy    string
	SavedAt    time.Time
}

// Saved says when the note was kept and by whom; empty when it never was.
func (p patient) Saved() string {
	if p.SavedAt.IsZero() {
		return ""
	}
	return p.SavedAt.Format("15:04") + " by " + p.SavedBy
}

// hash names this patient's note as it stands; it changes with every letter.
func (p patient) hash() string { return hash([]byte(p.ID + "\x00" + p.Note)) }

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// records are the made-up patients: always these, each with one note.
type records struct {
	mu       sync.Mutex
	patients []patient
}

func newRecords() *records {
	return &records{patients: []patient{
		{ID: "P-1001", Name: "Patient Maple", Born: "1951", Allergies: "Penicillin", Reason: "Blood pressure check",
			Note: "BP 148/92 on the left arm, seated. Repeat in ten minutes."},
		{ID: "P-1007", Name: "Patient Willow", Born: "1987", Allergies: "None known", Reason: "Wound dressing",
			Note: "Wound clean and dry. Next dressing on Thursday."},
		{ID: "P-1013", Name: "Patient Cedar", Born: "2016", Allergies: "Peanuts", Reason: "Vaccination",
			Note: "Second dose given. Watched for fifteen minutes, well."},
		{ID: "P-1028", Name: "Patient Juniper", Born: "1974", Allergies: "Latex", Reason: "Diabetes review",
			Note: "HbA1c 52 mmol/mol, was 58. Keep the present dose."},
		{ID: "P-1042", Name: "Sealed psychiatry note", Born: "1990", Allergies: "None known", Reason: "Psychiatry", Restricted: true,
			Note: "In a crisis: keep the room quiet, offer water, phone the crisis team. Do not give haloperidol."},
	}}
}

func (r *records) list() []patient {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]patient(nil), r.patients...)
}

func (r *records) get(id string) (patient, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.find(id); p != nil {
		return *p, true
	}
	return patient{}, false
}

func (r *records) write(id, note, by string, at time.Time) (patient, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.find(id)
	if p == nil {
		return patient{}, false
	}
	p.Note, p.SavedBy, p.SavedAt = note, by, at
	return *p, true
}

// clear removes the note whose hash this is, and nothing that was written since.
func (r *records) clear(id, hash string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.find(id)
	if p == nil || p.hash() != hash {
		return false
	}
	p.Note, p.SavedBy, p.SavedAt = "", "", time.Time{}
	return true
}

// csv is the list as a file, sealed records left out, and the number of patients in it.
func (r *records) csv() ([]byte, int) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"id", "name", "born", "allergies", "reason", "note"}) // a Buffer takes everything
	n := 0
	for _, p := range r.list() {
		if p.Restricted {
			continue
		}
		n++
		_ = w.Write([]string{p.ID, cell(p.Name), cell(p.Born), cell(p.Allergies), cell(p.Reason), cell(p.Note)})
	}
	w.Flush()
	return b.Bytes(), n
}

// cell keeps a spreadsheet from taking a text for a formula.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

func (r *records) find(id string) *patient {
	for i := range r.patients {
		if r.patients[i].ID == id {
			return &r.patients[i]
		}
	}
	return nil
}
