package views_test

import (
	"time"

	"slipway.dev/models"
	pictures "slipway.dev/views/images"
	"slipway.dev/views/layout"
)

// fileSamples are the file explorer and the comparison of two images.
func fileSamples() []sample {
	p := passport()
	at := pictures.FilesAt{Repository: p.Repository, Digest: p.Digest}
	whole, one, file := at, at, at
	whole.Path, one.Layer, one.Path, file.Path = "/usr/lib/python3", "3", "/", "/etc/checkout/checkout.yaml"
	layers := fileLayers()
	listed := models.ImageFiles{Image: &p, Layers: layers, Bytes: 148_113_004, Files: 4_213, Wasted: 12_400_113}
	folder, layer, content, waiting := listed, listed, listed, listed
	folder.Entry, folder.Items, folder.Total = &models.FileEntry{Path: whole.Path, FileMeta: models.FileMeta{Type: models.FileDir}, Bytes: 31_004_512}, folderEntries(), 312
	layer.Entry, layer.Items, layer.Total = &models.FileEntry{Path: "/", FileMeta: models.FileMeta{Type: models.FileDir}}, layerEntries(), 4
	key := models.FileEntry{Path: file.Path, FileMeta: models.FileMeta{Type: models.FilePlain, Mode: 0o640, UID: 65532, GID: 65532, Size: 214}, ModTime: now.Add(-time.Hour), Digest: digestOf("9f86d081884c7d65"), Layer: 3,
		Versions: []models.FileVersion{{Layer: 2, Op: models.FileAdded, FileMeta: models.FileMeta{Size: 180}}, {Layer: 3, Op: models.FileChanged, FileMeta: models.FileMeta{Size: 214}}}}
	content.Entry = &key
	waiting.Making = &models.FileIndex{State: models.IndexWaiting, Done: 41_000_000, Total: 148_000_000}
	failed := waiting
	failed.Making = &models.FileIndex{State: models.IndexFailed, Error: "The repository has no such blob."}
	text := "# where payments go\nprovider: https://pay.example\ntimeout: 5s\nretries: 3\n\nlog:\n  level: info\n"
	return []sample{
		explorerSample("files", pictures.FilesView{ImageFiles: folder, At: whole, Next: "/images/files?cursor=0.50"}),
		explorerSample("files-layer", pictures.FilesView{ImageFiles: layer, At: one}),
		explorerSample("files-content", pictures.FilesView{ImageFiles: content, At: file, Content: &models.FileContent{Entry: key, Layer: layers[2], Kind: "text", Text: text, Secret: true}}),
		explorerSample("files-waiting", pictures.FilesView{ImageFiles: waiting, At: at}),
		explorerSample("files-failed", pictures.FilesView{ImageFiles: failed, At: at}),
		comparisonSample(),
		comparisonFormSample(),
	}
}

func explorerSample(name string, v pictures.FilesView) sample {
	p := testPage("Files")
	p.Nav, p.Meta = "images", pictures.FilesMeta(v)
	p.Crumbs = []layout.Link{{Label: "Images", Href: "/images"}, {Label: v.Image.Repository, Href: "/images/" + v.Image.Repository}, {Label: "main", Href: "/images/x"}}
	v.Curl = p.Curl("GET", v.At.API(), "")
	return sample{name, pictures.Files(p, v)}
}

func fileLayers() []models.FileLayer {
	return []models.FileLayer{
		{Number: 1, Digest: digestOf("0a"), Size: 31_000_000, Instruction: "ADD rootfs.tar.gz /", Tally: models.FileTally{Layer: 1, Added: 3_102, Bytes: 81_204_004, Wasted: 1_204}},
		{Number: 2, Digest: digestOf("0b"), Size: 14_000_000, Instruction: "RUN apt-get update && apt-get install -y --no-install-recommends python3 ca-certificates", Tally: models.FileTally{Layer: 2, Added: 1_090, Changed: 14, Bytes: 66_400_000, Wasted: 12_398_909}},
		{Number: 3, Digest: digestOf("0c"), Size: 1_400_000, Instruction: "COPY . /app", Tally: models.FileTally{Layer: 3, Added: 21, Changed: 3, Removed: 2, Bytes: 2_909_113}},
	}
}

func aDirectory(path string, bytes, files int64, tallies ...models.FileTally) models.FileEntry {
	return models.FileEntry{Path: path, FileMeta: models.FileMeta{Type: models.FileDir, Mode: 0o755}, Layer: 1, Bytes: bytes, Files: files, Tallies: tallies}
}

func aFile(path string, mode uint32, size int64, layer int) models.FileEntry {
	return models.FileEntry{Path: path, FileMeta: models.FileMeta{Type: models.FilePlain, Mode: mode, Size: size}, Layer: layer}
}

func folderEntries() []models.FileEntry {
	link := models.FileEntry{Path: "/usr/lib/python3/python", FileMeta: models.FileMeta{Type: models.FileSymlink, Mode: 0o777}, Link: "python3.13", Layer: 2}
	odd := aFile(`/usr/lib/python3/line\x0abreak-and-a-name-that-is-so-long-that-it-does-not-fit-in-a-row-on-any-screen-that-people-have-today.py`, 0o644, 4_102, 3)
	odd.Odd = true
	return []models.FileEntry{
		aDirectory("/usr/lib/python3/dist-packages", 18_004_113, 912), aDirectory("/usr/lib/python3/lib-dynload", 9_300_210, 71),
		aFile("/usr/lib/python3/_sysconfigdata.py", 0o644, 43_112, 2), link, aFile("/usr/lib/python3/ping", 0o4755, 77_000, 1), odd, aFile("/usr/lib/python3/empty", 0o644, 0, 2),
	}
}

func layerEntries() []models.FileEntry {
	changed := aFile("/config.yaml", 0o640, 2_113, 3)
	changed.Versions = []models.FileVersion{{Layer: 1, Op: models.FileAdded, FileMeta: models.FileMeta{Type: models.FilePlain, Mode: 0o644, Size: 1_204}}, {Layer: 3, Op: models.FileChanged, FileMeta: changed.FileMeta}}
	removed := aFile("/var-cache.bin", 0o644, 12_300_000, 3)
	removed.Gone = true
	removed.Versions = []models.FileVersion{{Layer: 2, Op: models.FileAdded, FileMeta: removed.FileMeta}, {Layer: 3, Op: models.FileRemoved, FileMeta: removed.FileMeta}}
	return []models.FileEntry{
		aDirectory("/app", 2_400_113, 18, models.FileTally{Layer: 3, Added: 18, Bytes: 2_400_113}), aDirectory("/etc", 400_113, 218, models.FileTally{Layer: 3, Changed: 2, Removed: 1, Bytes: 2_113}), changed, removed,
	}
}

func comparisonSample() sample {
	b := passport()
	a := b
	a.Image = repositoryImages()[1]
	modes := aFile("/usr/bin/checkout", 0o4755, 8_113_004, 2)
	modes.Versions = []models.FileVersion{{Layer: 1, Op: models.FileAdded, FileMeta: models.FileMeta{Type: models.FilePlain, Mode: 0o755, Size: 7_900_113}}, {Layer: 2, Op: models.FileChanged, FileMeta: modes.FileMeta}}
	added := aFile("/usr/share/licences.txt", 0o644, 31_004, 2)
	layers := fileLayers()
	c := &models.ImageComparison{A: &a, B: &b, Shared: layers[:1], OnlyA: layers[1:2], OnlyB: layers[2:],
		Settings:    []models.SettingChange{{Name: "Command", Before: `["serve"]`, After: `["serve", "--http"]`, Op: models.FileChanged}},
		Environment: []models.SettingChange{{Name: "LOG_LEVEL", After: "debug", Op: models.FileAdded}, {Name: "PYTHON_VERSION", Before: "3.12.1", After: "3.13.0", Op: models.FileChanged}},
		Commits:     []models.ChangeCommit{{ID: "9f3c2ab1", Subject: "Take cards of all kinds", Author: "Mira Kovač", Time: now.Add(-2 * time.Hour)}}, More: true,
		Files: models.FileTally{Layer: 2, Added: 214, Changed: 3, Removed: 8, Bytes: 14_000_000, Before: 1_700_000}, Below: "/usr/lib/python3", BytesA: 135_813_004, BytesB: 148_113_004,
		Entry: &models.FileEntry{Path: "/usr"}, Total: 4,
		Items: []models.FileEntry{aDirectory("/usr/lib", 31_004_113, 900, models.FileTally{Layer: 2, Added: 213, Changed: 2, Removed: 8, Bytes: 12_100_113, Before: 300_113}), modes, added}}
	v := pictures.CompareView{ImageComparison: c, At: pictures.CompareAt{A: "payments/checkout-api:build-139", B: "payments/checkout-api:main", Path: "/usr"}}
	p := testPage("Compare images")
	p.Nav, p.Lead, p.Crumbs = "images", pictures.Summary(c), []layout.Link{{Label: "Images", Href: "/images"}}
	v.Curl = p.Curl("GET", v.At.API(), "")
	return sample{"files-compare", pictures.Compare(p, v)}
}

func comparisonFormSample() sample {
	p := testPage("Compare images")
	p.Nav = "images"
	return sample{"files-compare-form", pictures.Compare(p, pictures.CompareView{At: pictures.CompareAt{A: "payments/checkout-api:main"}})}
}
