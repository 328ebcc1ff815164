package deploytest

import (
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

func (s Suite) staysDown(t *testing.T) {
	target := s.Open(t)
	r := s.release()
	r.Restart = models.RestartNever
	i := s.up(t, target, r)
	s.get(t, i.Address+"/exit")
	for end := time.Now().Add(time.Minute); i.State != models.InstanceFailing; {
		if time.Now().After(end) {
			t.Fatalf("the instance is %+v", i)
		}
		<-time.After(100 * time.Millisecond)
		i = s.only(t, target, r)
	}
	if i.ExitCode == nil || *i.ExitCode != 4 || i.Restarts != 0 || !strings.Contains(i.Message, "exit code 4") || !strings.Contains(i.Message, "restart policy") {
		t.Errorf("the instance is %+v", i)
	}
}

// only returns the release's one instance.
func (s Suite) only(t *testing.T, target deploy.Target, r deploy.Release) deploy.Instance {
	t.Helper()
	all, err := target.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Release == r.ID {
			return i
		}
	}
	t.Fatal("the release has no instance")
	return deploy.Instance{}
}

func (s Suite) keeps(t *testing.T) {
	target := s.Open(t)
	keeper, ok := target.(deploy.VolumeKeeper)
	if !ok {
		t.Skip("a plan says that the target keeps no volumes")
	}
	one := s.release()
	one.AppID = models.NewID()
	one.Volumes = []models.VolumeMount{{Name: "uploads", Path: "/data"}}
	two := s.release()
	two.AppID, two.EnvironmentID, two.Volumes = one.AppID, one.EnvironmentID, one.Volumes
	first := s.up(t, target, one)
	s.get(t, first.Address+"/write?path=/data/note&text=kept")
	second := s.up(t, target, two) // beside it, with the same data
	if got := s.get(t, second.Address+"/read?path=/data/note"); got != "kept" {
		t.Errorf("the second release reads %q", got)
	}
	v := s.volume(t, keeper, one)
	if v.Name != "uploads" || len(v.UsedBy) != 2 || v.EnvironmentID != one.EnvironmentID {
		t.Errorf("the volume is %+v", v)
	}
	if err := keeper.RemoveVolume(t.Context(), v.ID); !models.IsCode(err, models.Conflict) {
		t.Errorf("removing what is in use gives %v", err)
	}
	for _, r := range []deploy.Release{one, two} {
		if err := target.Remove(t.Context(), r.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	if v = s.volume(t, keeper, one); len(v.UsedBy) != 0 {
		t.Errorf("the volume is used by %q", v.UsedBy)
	}
	three := two
	three.ID, three.Name, three.Volumes = models.NewID(), two.Name+"x", []models.VolumeMount{{Name: "uploads", Path: "/data", ReadOnly: true}}
	third := s.up(t, target, three)
	s.get(t, third.Address+"/write?path=/data/note&text=changed")
	if got := s.get(t, third.Address+"/read?path=/data/note"); got != "kept" {
		t.Errorf("what is read only was written: %q", got)
	}
	other := s.release()
	other.AppID, other.EnvironmentID, other.Volumes = models.NewID(), one.EnvironmentID, one.Volumes
	if got := s.get(t, s.up(t, target, other).Address+"/read?path=/data/note"); got == "kept" {
		t.Error("another app has the data")
	}
	for _, r := range []deploy.Release{three, other} {
		if err := target.Remove(t.Context(), r.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time it is gone already
		if err := keeper.RemoveVolume(t.Context(), v.ID); err != nil {
			t.Error(err)
		}
	}
	if all, err := keeper.Volumes(t.Context()); err != nil || len(all) != 1 || all[0].AppID != other.AppID {
		t.Errorf("left are %+v, %v", all, err)
	}
}

func (s Suite) volume(t *testing.T, keeper deploy.VolumeKeeper, r deploy.Release) deploy.Volume {
	t.Helper()
	all, err := keeper.Volumes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		if v.AppID == r.AppID {
			return v
		}
	}
	t.Fatalf("the target keeps %+v", all)
	return deploy.Volume{}
}
