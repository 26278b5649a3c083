"""Networks as functions of tensors: the two-token transformer, its binary control, RetinaFace."""
