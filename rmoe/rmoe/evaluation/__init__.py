"""Tables over data sets: mIoU (``segmentation``), box and mask AP (``detection``), what experts do (``experts``)."""
