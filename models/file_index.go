package models

import "time"

// FileIndexKind is what a file index is of.
type FileIndexKind string

// The kinds of file indexes.
const (
	IndexOfLayer      FileIndexKind = "layer"
	IndexOfImage      FileIndexKind = "image"
	IndexOfComparison FileIndexKind = "comparison"
)

// FileIndexState is how far a file index is.
type FileIndexState string

// The states of a file index.
const (
	IndexWaiting FileIndexState = "waiting" // a job makes it
	IndexReady   FileIndexState = "ready"
	IndexFailed  FileIndexState = "failed" // Error says why; it is tried again when somebody asks for it later
)

// FileIndex is the list of the files of a layer, of an image, or of what
// differs between two images, made once and kept as a blob. It says nothing
// that the content does not, so whoever may see an image of those layers may see it.
type FileIndex struct {
	ID         string        `gorm:"primaryKey"` // the kind and what it is of: the layer's digest, or a sum of those of all layers
	Kind       FileIndexKind // layer, image or comparison
	Registry   string        // the slug of the registry that the content was read from; empty: the embedded one
	Top        string        // the digest of a layer that it is of: when that layer goes, so does the index
	State      FileIndexState
	Blob       string // the blob's key once ready
	Size       int64  // bytes of the blob
	Entries    int64
	Bytes      int64    // uncompressed bytes of the archives
	Done       int64    // compressed bytes that have been read
	Total      int64    // compressed bytes in all
	Error      string   // why it failed, for people
	Teams      []string `gorm:"serializer:json"` // who is told of its progress
	Lease      `gorm:"embedded"`
	CreatedAt  time.Time
	UpdatedAt  time.Time // when anything of it was last written
	LastUsedAt time.Time // when somebody last looked at it, to the day
}

// FileIndexTopic is the topic of the events about the index with the id.
func FileIndexTopic(id string) string { return "file-index:" + id }

// FileLayer is a layer of an image whose files are listed.
type FileLayer struct {
	Number      int // from 1, the lowest
	Digest      string
	MediaType   string
	Size        int64     // compressed bytes
	Instruction string    // that made it, where it is known
	Tally       FileTally // what it did; zero while the files are not known
}

// ImageFiles are some of the files of an image.
type ImageFiles struct {
	Image  *ImagePassport // of one platform
	Index  *ImagePassport // the index that it was found by; nil: none
	Layers []FileLayer
	Making *FileIndex // how far the list is that is being made; nil: it is here

	Entry  *FileEntry  // the path that was asked for
	Items  []FileEntry // what is in it; empty for a file
	Next   string      // the cursor of the page after
	Total  int64       // how many Items there are on all pages
	Bytes  int64       // of all files of the image
	Files  int64       // how many files, links and devices the image has
	Wasted int64       // bytes that its layers hold and it does not show
	Notice string      // why the list is not whole, for people
}

// FileContent is a file of an image as it can be shown.
type FileContent struct {
	Entry      FileEntry // what it is; of a hard link the file that it names
	Layer      FileLayer // that it was read from
	Kind       string    // what its content looks like, such as "text" or "ELF program"
	Text       string    // what it says; empty where it is not text
	Cut        bool      // Text is only its beginning
	Secret     bool      // its name is that of a file that usually holds a secret
	Unreadable string    // why its content can't be shown, for people
}

// ImageComparison is what differs between two images.
type ImageComparison struct {
	A, B        *ImagePassport // of one platform
	IndexA      *ImagePassport // the index that A was found by; nil: none
	IndexB      *ImagePassport
	Shared      []FileLayer // layers that both have
	OnlyA       []FileLayer
	OnlyB       []FileLayer
	Settings    []SettingChange // of the configuration
	Environment []SettingChange
	Labels      []SettingChange
	Platforms   []SettingChange // that only one of two indexes has
	Commits     []ChangeCommit  // that B has and A has not, newest first; with Back those that A has and B has not
	More        bool            // there are more commits than these
	Back        bool            // B is older than A
	CommitsNote string          // why no commits are shown
	Making      *FileIndex      // how far the comparison of the files is; nil: it is here

	Files  FileTally // what became of the files from A to B
	Below  string    // the directory that holds most of what was added, changed or removed
	BytesA int64     // uncompressed, of all files of A
	BytesB int64
	Entry  *FileEntry  // the path whose changes are listed
	Items  []FileEntry // what changed in it; layer 2 of an entry is B
	Next   string
	Total  int64
	Notice string // why the comparison of the files is not whole, for people
}

// SettingChange is a setting that differs: Before in the first image, After in the second.
type SettingChange struct {
	Name, Before, After string
	Op                  FileOp
}
