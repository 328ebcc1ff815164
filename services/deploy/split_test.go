package deploy_test

import (
	"testing"

	"slipway.dev/services/deploy"
)

func TestWhoServedBeforeIsTheReleaseThatBeganFirst(t *testing.T) {
	t.Parallel()
	releases := map[string]string{"a": "03", "b": "01", "c": "02"} // the others are nobody's
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, ""},
		{[]string{"x"}, "x"},
		{[]string{"a", "b", "c"}, "b"},
		{[]string{"x", "a"}, "a"},
		{[]string{"a", "x", "c"}, "c"},
	} {
		if got := deploy.Former(c.names, func(name string) string { return releases[name] }); got != c.want {
			t.Errorf("of %q it is %q, not %q", c.names, got, c.want)
		}
	}
	for percent, want := range map[int]int{-1: 0, 0: 0, 30: 30, 100: 99} {
		if got := deploy.Share(percent); got != want {
			t.Errorf("%d percent is a share of %d", percent, got)
		}
	}
}
