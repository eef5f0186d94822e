"""From labelled pictures to a folder that `build-engines` takes: reads models and pictures by the builder's own code."""
