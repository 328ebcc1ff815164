package admin

import (
	"reflect"
	"testing"
)

func TestTheFieldsOfATargetStandBelowTheirHeadings(t *testing.T) {
	v := TargetView{Fields: []TargetField{{Name: "host"}, {Name: "region", Group: "Account"}, {Name: "role"}, {Name: "subnets", Group: "Network"}}}
	got := map[string][]string{}
	for _, g := range v.groups() {
		for _, f := range g.Fields {
			got[g.Title] = append(got[g.Title], f.Name)
		}
	}
	if want := map[string][]string{"": {"host"}, "Account": {"region", "role"}, "Network": {"subnets"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
