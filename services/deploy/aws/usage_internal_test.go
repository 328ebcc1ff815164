package aws

import (
	"testing"

	"slipway.dev/services/deploy"
)

func TestFiguresOfATaskAreReadInTheirUnits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want deploy.Usage
		ok   bool
	}{
		{`{"Type":"Task","TaskId":"7ac4","CpuUtilized":512.0,"CpuReserved":1024.0,"MemoryUtilized":12,"MemoryReserved":512}`, deploy.Usage{Instance: "7ac4", CPU: 500, Memory: 12 << 20}, true},
		{`{"TaskId":"7ac4","CpuUtilized":0.0,"MemoryUtilized":0}`, deploy.Usage{Instance: "7ac4"}, true},
		{`{"TaskId":"7ac4","CpuUtilized":1.5,"MemoryUtilized":0.5}`, deploy.Usage{Instance: "7ac4", CPU: 1, Memory: 512 << 10}, true},
		{`{"TaskId":"7ac4","CpuUtilized":-5,"MemoryUtilized":1e300}`, deploy.Usage{Instance: "7ac4", Memory: 1 << 50}, true},
		{`{"TaskId":"7ac4","MemoryUtilized":12}`, deploy.Usage{}, false},
		{`{"TaskId":"7ac4","CpuUtilized":1}`, deploy.Usage{}, false},
		{`{"CpuUtilized":1,"MemoryUtilized":12}`, deploy.Usage{}, false},
		{`{"TaskId":7,"CpuUtilized":1,"MemoryUtilized":12}`, deploy.Usage{}, false},
		{`no event`, deploy.Usage{}, false},
	} {
		if got, ok := readTask(c.text); got != c.want || ok != c.ok {
			t.Errorf("%s: %+v, %t", c.text, got, ok)
		}
	}
}
