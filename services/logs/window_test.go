package logs_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/logs"
)

// printed is a stream of 3,000 lines, every third one of the step "b"; line 2,000 holds a word in colours.
func printed(t *testing.T, db *models.Database, whole bool) *logs.Service {
	t.Helper()
	s := service(t, db)
	w := open(t, s, "s")
	for n := 1; n <= 3000; n++ {
		step := "a"
		if n%3 == 0 {
			step = "b"
		}
		text := fmt.Sprintf("line %d of %s", n, step)
		if n == 2000 {
			text = "a \x1b[31mNee\x1b[1mdle\x1b[0m here"
		}
		w.Write(step, logs.Stdout, time.Now(), []byte(text+"\n"))
	}
	if whole {
		w.Close(t.Context())
	} else {
		w.Leave(t.Context())
	}
	return s
}

func TestAWindowShowsTheLinesAroundAPlace(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		for _, whole := range []bool{true, false} {
			s := printed(t, db, whole)
			for _, c := range []struct {
				window         logs.Window
				first, last    int64
				lines          int
				earlier, later bool
			}{
				{logs.Window{At: 1, After: 100}, 1, 100, 100, false, true},
				{logs.Window{At: 2000, Before: 50, After: 50}, 1950, 2049, 100, true, true},
				{logs.Window{At: logs.AtEnd, Before: 100}, 2901, 3000, 100, true, false},
				{logs.Window{At: 20, Before: 50}, 1, 19, 19, false, true},
				{logs.Window{At: 2990, After: 50}, 2990, 3000, 11, true, false},
				{logs.Window{At: 5000, Before: 5, After: 5}, 2996, 3000, 5, true, false},
				{logs.Window{Step: "b", At: 1, After: 10}, 3, 30, 10, false, true},
				{logs.Window{Step: "b", At: 1500, Before: 10, After: 10}, 1470, 1527, 20, true, true},
				{logs.Window{Step: "b", At: logs.AtEnd, Before: 10}, 2973, 3000, 10, true, false},
				{logs.Window{Step: "none", At: 1, After: 10}, 0, 0, 0, false, false},
			} {
				v, err := s.Window(t.Context(), "s", c.window)
				if err != nil {
					t.Fatal(err)
				}
				if len(v.Lines) != c.lines || v.Earlier != c.earlier || v.Later != c.later || v.Total != 3000 || v.Ended != whole {
					t.Errorf("%+v shows %d lines, earlier %v, later %v of %d, ended %v", c.window, len(v.Lines), v.Earlier, v.Later, v.Total, v.Ended)
				}
				if c.lines > 0 && (v.Lines[0].N != c.first || v.Lines[len(v.Lines)-1].N != c.last) {
					t.Errorf("%+v shows the lines %d to %d", c.window, v.Lines[0].N, v.Lines[len(v.Lines)-1].N)
				}
			}
			if n, err := s.LastOf(t.Context(), "s", "a"); err != nil || n != 2999 {
				t.Errorf("the last line of the step is %d, error %v", n, err)
			}
			var text strings.Builder
			if err := s.WriteText(t.Context(), "s", "b", &text); err != nil || strings.Count(text.String(), "\n") != 1000 || strings.Contains(text.String(), "of a") {
				t.Errorf("the text of the step has %d lines, error %v", strings.Count(text.String(), "\n"), err)
			}
			if err := db.Exec("DELETE FROM log_chunks").Error; err != nil {
				t.Fatal(err)
			}
			if err := db.Exec("DELETE FROM log_streams").Error; err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestASearchFindsEveryLineWhateverItsCaseAndColours(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := printed(t, db, true)
		find := func(q logs.Search) logs.Hits {
			t.Helper()
			found, err := s.Search(t.Context(), "s", q)
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		one := find(logs.Search{Text: "nEEDLE HERE", Limit: 10, Lines: 2})
		if one.Total != 1 || len(one.Shown) != 1 || one.Shown[0].Line.N != 2000 ||
			!slices.Equal(texts(one.Shown[0].Before), []string{"line 1998 of b", "line 1999 of a"}) ||
			!slices.Equal(texts(one.Shown[0].After), []string{"line 2001 of b", "line 2002 of a"}) {
			t.Errorf("found %+v", one)
		}
		many := find(logs.Search{Text: "line 1", Limit: 3, From: 100})
		if many.Total != 1111 || many.Index != 11 || many.Prev != 19 || len(many.Shown) != 3 || many.Shown[0].Line.N != 100 || len(many.All) != 1000 {
			t.Errorf("found %d, %d before %+v, the one before is %d", many.Total, many.Index, many.Shown, many.Prev)
		}
		if step := find(logs.Search{Text: "of", Step: "b"}); step.Total != 1000 {
			t.Errorf("found %d lines of the step", step.Total)
		}
		if none := find(logs.Search{Text: "[31m"}); none.Total != 0 {
			t.Errorf("found %d colours", none.Total)
		}
		for _, bad := range []string{"", "  ", strings.Repeat("x", 300)} {
			if _, err := s.Search(t.Context(), "s", logs.Search{Text: bad}); !models.IsCode(err, models.Invalid) {
				t.Errorf("looking for %q ended with %v", bad, err)
			}
		}
	})
}

func TestEncodedSecretsAreMaskedAsToolsBreakThemIntoLines(t *testing.T) {
	t.Parallel()
	key := "-----BEGIN KEY-----\n" + strings.Repeat("AAAAB3NzaC1yc2EAAAADAQABAAABgQCx7\n", 8) + "-----END KEY-----\n"
	password := "p@ss wörd/with+marks!'"
	var pieces []string
	for _, width := range []int{76, 64} {
		for _, text := range []string{key, strings.TrimSpace(key)} {
			for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString([]byte(text))), width) {
				pieces = append(pieces, string(line)+"\n")
			}
		}
	}
	keyLines := len(pieces)
	pieces = append(pieces,
		"curl p%40ss%20w%C3%B6rd%2Fwith%2Bmarks%21%27\n", "python p%40ss%20w%C3%B6rd/with%2Bmarks%21%27\n",
		"js p%40ss%20w%C3%B6rd%2Fwith%2Bmarks!'\n", "form p%40ss+w%C3%B6rd%2Fwith%2Bmarks%21%27\n", "java p%40ss+w%c3%b6rd%2fwith%2bmarks%21%27\n",
		"uri p@ss%20w%C3%B6rd/with+marks!'\n")
	for i, got := range written(t, logs.Limits{}, []string{key, password}, pieces...) {
		if !strings.Contains(got, "••••••") || i < keyLines && got != "••••••" && len(got) > 8 {
			t.Errorf("the piece %q became %q", pieces[i], got)
		}
	}
}
