"""From labelled pictures to a folder that `build-engines` takes; it reads by the builder's own code."""
