package corpus

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "ffmpeg", Bases: []string{"debian:bookworm-slim"}, Works: ffmpegWorks, Others: ffmpegOthers})
}

// ffmpegTest are the arguments for a picture and a tone of one second.
var ffmpegTest = []string{"-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=10:duration=1", "-f", "lavfi", "-i", "sine=440:duration=1"}

// ffprobe returns the format's name and the codecs of a file's streams.
func ffprobe(w workshop, name string) (format string, codecs []string) {
	var p struct {
		Streams []struct {
			Codec string `json:"codec_name"`
		}
		Format struct {
			Name string `json:"format_name"`
		}
	}
	out := w.mustRun("ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_format", name)
	require.NoError(w, json.Unmarshal([]byte(out), &p), "%s", out)
	for _, s := range p.Streams {
		codecs = append(codecs, s.Codec)
	}
	return p.Format.Name, codecs
}

func ffmpegWorks(i *Instance) {
	w := newWorkshop(i)
	w.must(append(ffmpegTest, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "a.mp4")...)
	format, codecs := ffprobe(w, "a.mp4")
	require.Contains(i, format, "mp4")
	require.Equal(i, []string{"h264", "aac"}, codecs)
}

// ffmpegOthers: other codecs and containers, subtitles and text in a typeface,
// filters that need further libraries, a stream over the network, failures.
func ffmpegOthers(i *Instance) {
	w := newWorkshop(i)
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"a.webm", []string{"-c:v", "libvpx-vp9", "-c:a", "libopus"}, []string{"vp9", "opus"}},
		{"b.webm", []string{"-c:v", "libvpx", "-c:a", "libvorbis"}, []string{"vp8", "vorbis"}},
		{"a.mkv", []string{"-c:v", "libx265", "-x265-params", "log-level=error", "-c:a", "flac"}, []string{"hevc", "flac"}},
		{"b.mkv", []string{"-c:v", "libsvtav1", "-c:a", "ac3"}, []string{"av1", "ac3"}},
		{"c.mkv", []string{"-c:v", "libaom-av1", "-cpu-used", "8", "-frames:v", "2", "-c:a", "libtwolame"}, []string{"av1", "mp2"}},
		{"d.mkv", []string{"-c:v", "librav1e", "-speed", "10", "-frames:v", "2", "-c:a", "libshine", "-ar", "44100"}, []string{"av1", "mp3"}},
		{"a.avi", []string{"-c:v", "libxvid", "-c:a", "libmp3lame"}, []string{"mpeg4", "mp3"}},
		{"a.ogv", []string{"-c:v", "libtheora", "-c:a", "libspeex", "-ar", "16000"}, []string{"theora", "speex"}},
		{"a.mov", []string{"-c:v", "prores_ks", "-c:a", "alac"}, []string{"prores", "alac"}},
		{"a.flv", []string{"-c:v", "flv1", "-c:a", "libmp3lame", "-ar", "44100"}, []string{"flv1", "mp3"}},
		{"a.gif", []string{"-an"}, []string{"gif"}},
		{"a.webp", []string{"-an", "-c:v", "libwebp_anim"}, []string{"webp"}},
		{"a.jp2", []string{"-an", "-frames:v", "1", "-c:v", "libopenjpeg"}, []string{"jpeg2000"}},
		{"a.jxl", []string{"-an", "-frames:v", "1", "-c:v", "libjxl"}, []string{"jpegxl"}},
		{"a.gsm", []string{"-vn", "-c:a", "libgsm", "-ar", "8000"}, []string{"gsm"}},
		{"a.wv", []string{"-vn"}, []string{"wavpack"}},
	} {
		w.must(append(append(append([]string{}, ffmpegTest...), tt.args...), tt.name)...)
		if tt.name == "a.webp" { // ffmpeg writes animated WebP and does not read it
			require.NotEmpty(i, w.read(tt.name))
			continue
		}
		_, codecs := ffprobe(w, tt.name)
		require.ElementsMatch(i, tt.want, codecs, tt.name)
	}
	w.must(append(ffmpegTest, "-c:a", "aac", "-f", "hls", "-hls_time", "1", "list.m3u8")...)
	require.Contains(i, string(w.read("list.m3u8")), "#EXTM3U")
	w.must("-v", "error", "-i", "a.mkv", "-c", "copy", "copied.mkv")
	w.must("-v", "error", "-i", "list.m3u8", "-frames:v", "1", "frame.png")
	_, size := w.decoded("frame.png")
	require.Equal(i, 160, size.X)

	srt := "1\n00:00:00,000 --> 00:00:01,000\nGrüße\n"
	require.NoError(i, os.WriteFile(filepath.Join(w.dir, "s.srt"), []byte(srt), 0o644))
	for _, filter := range []string{
		"drawtext=text=hello:fontsize=20:font=DejaVu Sans", "subtitles=s.srt", "zscale=80:60", "scale=80:60,hqdn3d", "vidstabdetect=result=/tmp/t.trf",
		"split[a][b];[a]palettegen[p];[b][p]paletteuse", "eq=contrast=1.5,unsharp", "format=yuv420p,deshake",
	} {
		w.must(append(append([]string{}, ffmpegTest...), "-an", "-filter_complex", "[0:v]"+filter, "-f", "null", "-")...)
	}
	for _, filter := range []string{"rubberband=tempo=1.5", "loudnorm", "aresample=resampler=soxr", "bs2b", "sofalizer=sofa=/absent", "ebur128", "atempo=2"} {
		r := w.entrypoint("-v", "error", "-f", "lavfi", "-i", "sine=440:duration=1", "-ac", "2", "-af", filter, "-f", "null", "-")
		switch filter {
		case "sofalizer=sofa=/absent", "aresample=resampler=soxr":
			require.NotContains(i, r.Stderr, "error while loading shared libraries")
		default:
			require.Zero(i, r.Code, "%s: %s", filter, r.Stderr)
		}
	}
	w.must("-v", "error", "-f", "lavfi", "-i", "flite=text=hello", "-t", "1", "speech.wav")
	require.Greater(i, len(w.read("speech.wav")), 1000)
	require.Contains(i, w.must("-hwaccels"), "vaapi")
	require.Contains(i, w.must("-devices"), "lavfi")
	r := w.entrypoint("-v", "error", "-hwaccel", "vaapi", "-hwaccel_output_format", "vaapi", "-i", "a.mp4", "-f", "null", "-")
	require.NotZero(i, r.Code)
	require.NotContains(i, r.Stderr, "error while loading shared libraries")
	r = w.run("ffplay", "-v", "error", "-nodisp", "-autoexit", "absent.wav")
	require.Contains(i, r.Stderr, "No such file or directory")
	r = w.entrypoint("-v", "error", "-i", "s.srt", "x.mp4")
	require.NotZero(i, r.Code)
}
