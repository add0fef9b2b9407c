package doctor

import "github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"

func overlaySupported(dir string) error { return overlayutils.Supported(dir) }
