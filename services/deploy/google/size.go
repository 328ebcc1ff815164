package google

import (
	"fmt"
	"strconv"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

const (
	gib = 1 << 30
	mib = 1 << 20

	leastMemory = 512 * mib // of the second generation, which has a whole processor at least
	mostMemory  = 32 * gib
	mostCPU     = 8000
)

// size is what Cloud Run gives an instance.
type size struct {
	cpu    int64 // whole processors
	memory int64 // MiB
}

// sizes are the processors that an instance may have, and the memory that goes
// with them (https://cloud.google.com/run/docs/configuring/services/memory-limits).
var sizes = []struct {
	cpu         int64
	least, most int64 // bytes
}{{1, leastMemory, 4 * gib}, {2, leastMemory, 8 * gib}, {4, 2 * gib, 16 * gib}, {6, 4 * gib, 24 * gib}, {8, 4 * gib, mostMemory}}

// sizeOf is the smallest size that has at least what the scale says.
func sizeOf(s models.Scale) (size, error) {
	for _, of := range sizes {
		if of.cpu*1000 >= s.CPU && of.most >= s.Memory {
			return size{of.cpu, (max(s.Memory, of.least) + mib - 1) / mib}, nil
		}
	}
	return size{}, deploy.Failf(deploy.StageCheck, nil, "Cloud Run gives an instance at most %d processors and %d GiB of memory. Lower the app's limits.", mostCPU/1000, mostMemory/gib)
}

func (s size) limits() map[string]string {
	return map[string]string{"cpu": strconv.FormatInt(s.cpu, 10), "memory": fmt.Sprintf("%dMi", s.memory)}
}

func (s size) String() string {
	processors := "1 processor"
	if s.cpu > 1 {
		processors = fmt.Sprintf("%d processors", s.cpu)
	}
	return fmt.Sprintf("%s and %d MiB of memory", processors, s.memory)
}
