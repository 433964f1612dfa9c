"""One member of each family of backbones, the smallest that has published weights."""

QUICK = ["mobilenet_025", "mobilenet_v2_035", "mobilenet_v3_small", "vgg16", "three_conv_cnn"]  # build within seconds
FAMILIES = [
    *QUICK,
    "resnet50",
    "resnet50_v2",
    "inception_v3",
    "inception_resnet_v2",
    "xception",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_b0",
    "convnext_tiny",
    "nasnet_mobile",
]
