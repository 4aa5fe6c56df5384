package server_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/server"
)

// The manual names every setting as it is, and its examples load.
func TestManual(t *testing.T) {
	content, err := os.ReadFile("../../docs/operate/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	manual := string(content)

	rows := make(map[string][]string)
	for line := range strings.Lines(manual) {
		if cells := strings.Split(line, " |"); strings.HasPrefix(line, "| `") && len(cells) == 6 {
			for i := range cells {
				cells[i] = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(cells[i]), "|"))
			}
			rows[strings.Trim(cells[0], "`")] = cells
		}
	}
	for _, s := range server.Settings() {
		row, ok := rows[s.Path]
		if !ok {
			t.Errorf("the manual has no row for %s", s.Path)
			continue
		}
		delete(rows, s.Path)
		flag := ""
		if s.Flag != "" {
			flag = "`--" + s.Flag + "`"
		}
		if !strings.HasPrefix(row[1], "`"+s.Env+"`") || row[2] != flag || strings.HasPrefix(row[4], "**secret**") != s.Secret {
			t.Errorf("the manual says of %s: %q", s.Path, row)
		}
	}
	for path := range rows {
		t.Errorf("the manual has a row for %s, which is no setting", path)
	}

	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(manual, -1)
	if len(examples) < 8 {
		t.Fatalf("only %d examples were found", len(examples))
	}
	for _, example := range examples {
		if _, err := load(example[1]); err != nil {
			t.Errorf("an example does not load: %v\n%s", err, example[1])
		}
	}
	apps := regexp.MustCompile(`(?m)^(MITRAL_APPS)='(.*)'$`).FindStringSubmatch(manual)
	if apps == nil {
		t.Fatal("the example of MITRAL_APPS was not found")
	}
	if c := mustLoad(t, "", apps[1]+"="+apps[2]); len(c.Apps) != 3 {
		t.Errorf("the example gives %d apps", len(c.Apps))
	}
}
