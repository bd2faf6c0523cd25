# Dense kNN (Balažević et al., 2023): every patch gets the labels of the nearest patches of a bank.
# The bank has a tenth of the paper's size.
model = dict(
    type="bam_mm.FrozenMaps",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    stage=None,  # The last map.
    branch="teacher",
)
# A config adds the bank of its data set.
test_cfg = dict(type="bam_mm.DenseKNNTestLoop", bank_size=1_024_000, k=30, temperature=0.02)
test_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])

# Nothing is trained: the processes share the images but exchange no gradients.
model_wrapper_cfg = dict(type="bam_mm.EvaluationWrapper")
