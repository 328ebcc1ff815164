package buildtest

import (
	"io"
	"log"
)

// quiet swallows the test registry's access log.
var quiet = log.New(io.Discard, "", 0)
