package deploy

import "testing"

func TestADiskThatIsTooSmallFailsTheCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		size, free int64
		here       bool
		fails      bool
		says       int // checks
	}{
		"not known":                  {size: 1 << 30, free: 0},
		"nearly full":                {size: 0, free: 10 << 20, fails: true, says: 1},
		"nearly full, image is here": {size: 1 << 30, free: 10 << 20, here: true, fails: true, says: 1},
		"too small for the image":    {size: 1 << 30, free: 2 << 30, fails: true, says: 1},
		"image is here":              {size: 1 << 30, free: 2 << 30, here: true, says: 1},
		"enough":                     {size: 1 << 30, free: 4 << 30, says: 1},
		"size not known":             {free: 1 << 30, says: 1},
	} {
		list := &checklist{}
		checkDisk(c.size, c.here, Info{Disk: c.free}, list)
		if len(*list) != c.says || (len(*list) > 0 && (*list)[0].OK == c.fails) {
			t.Errorf("%s: %+v", name, *list)
		}
	}
}
