module kubestead.invalid/bundle/pause

go 1.21
