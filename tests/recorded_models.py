"""Small models as other frameworks wrote them, recorded: what they tell is read where these frameworks are not installed."""

from __future__ import annotations

import base64
import zlib


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))


XGBOOST_JSON = _unpacked(
    "c-qBQ?QYv36n&M6-;QNIjB)<wDVhoq8@p^aL_oTAQQmzQ?6&DDMVhLvN+Q7p4(Hr^?3**1wDMMav^^sgqc?|B)FI76XMUI{^E%q1^BzeZqM226UdE@R-lOfe"
    "J?bVEf*FkVdvrmU0u5Tllh@L!IRV`vHEL8KV>>r%bpN^`VdM?QM%XY+PQ|o7des|kqdYhl;zDh9y`IvbQ!%sCwu7TrXhDxN912S`I3IN{P5&#+fz^13UTc|g"
    "<WYGwClq^{^JJPJnl^w?3|vw?O#uzjB+38}6^*mf*!~!S(_K~If)o@k%gDwKE=S?B#uAq^I;f!KPi@ABOm2hAO0<}BzT1dGlx-^nXS)q9HmoF7P3yLX89;zk"
    "Jvwjns_AtuEy#EueVc;o1@rrPd#?v|no?PZctzLrXj>I1MP>J3rrv8P`W=u;U)V6Y5MV{wF(ctp2+|V5cBH6wRr<juNacDz!K`6|a@MRD_@w_Dn!G@V;{-nI"
    "ob64@a5~OPyu&w>vmAnAm@X4~7P7>XwXTCu&Ib)PRW^f@MgTl6Dd9McNZHm{kR5(5<{N{6V>FlvtWd4iSUm?3vPRZ|fLY)+$aZ>c2KlHvcv!NhE|=oH6<8@6"
    "3|0V5q^L{Eo0gNTmX;00tOA~2Vg>vUR%lBMB1FpLr#azPZa&}yTDA=pq{(Ke8ON-pb@l@z4R4zIzdHhiHiXnP83KGN2*#AIsu?AOHed8|AphWqx@@q33bD_$"
    "#Let{$P<*dycH~)f>pGtIL+ghat^P&&-Fy=RjG5rbZJ?s`>Z|s@9ve&6FQgg0OB}_2k6{4<>1{c)g$z+@w%<$etnZ=RDRTP;Zq=Y_zwKcqs~GXW(Q-Hf7(uN"
    "H1Ln0gL7VwGP~e~T<FvUDRN=8_o@#Nfl`1{rd&e<t?n;>0K9Ii&j"
)
"""XGBClassifier of two classes over the columns age (whole numbers) and income; XGBoost 3.2.0."""

XGBOOST_UBJSON = _unpacked(
    "c-q}o&rcIU6mGjfr4+1kCt5HuF&dD>0~$y%N@7SfQBGCI>F(QQWOt^SnSxLo59+_*!GFTUiy9*)`~{x$;LWp%2jkJ`?9!dtEsN2F5M;S9^S*iWetd8GwHI^S"
    "U(pB5De!i@QNmJk(r8H#dao>OvO*+^us7q~lkF-3AxVHG<4CSIp*nM-YWr9S;u7H1PA7&AyMSej1EM$pQ6G=@3)-25J<y8*LTwhnj?>{C*{2DWdeQIt49j>`"
    "@i=w}P>C9h37N>WKVS~{df8`VX;QX;+UBO5_7;aCzzdX9QJ?U4qDq2s2@WF8gOpv@<G9z58~{ZTpeE)x&^I5WtsvU+ePs(_I<x##{NG>*3T?s|r?vYEQF&rX"
    "7)69SP039reI!Tnq(Cg~DGG#8ml=?yK<ZByD!M3PHpFOP0cZ_~w;YzjF_4!R$42JdyFWHR-Oyo`RE5D~oIrNjD#nhes!TR&G=VZ*Sp2g)K{g;8Rd&F|Ek7i;"
    "E9(<WCWQp3Kpaz!;Sh=JW#T&=Xfnp|Nd8y%(--(m2nEN~gLI89U%K|8H=LsCd@rx8N6K9<aD<0N-!+UvZx|KP^wkL4j5;J_Mmm)FiCnI?UBlZa6oZJJ?uC_0"
    "e1`N9Je<+p$~YtxYnMU2516K}KQs2ac58B}_Vv_N?Jpu`dNzha+N+TPHC=}IlPPm|LXG)+YG@*2C5Fb-M^Pkv;as!|wtCSLQ`hPI1>@f>JpD2^xU#YNzI^>~"
    "Fh0NMjGuqyKRif`?`hY5GJfp)&)QmJp|*A5<A2Ne+vU@<pJ$(JzIZ!uI2d2pd&WC&whj>Ed)u|2jPHN;xOT5SUVHwnbs!n9fB5=Bm1@N3wpP>D(XL|76mO+y"
    "ScJ_I!5yhjpPRaJcIu8+e~}VJE@uJ4t4gVPyGp!BP5*lpN|8Lo+yj|RQM+c1`zn933hnHik2VO!e0|1e9#IP4HiQHZMO;s(T@g0+RU?_`J`~x7EvjUN;$>24"
    "T1t%OI==yav%jw"
)
"""The same, as UBJSON."""

XGBOOST_UNNAMED = _unpacked(
    "c-q~Ve@q)?7{~jAqqD$LNBp_XNJSwFMOx-I!M1ldz%1E6%#bZIa=Er|%e%FA-Q5)?wa!U~bJJ{*ExHXcGw5dKM1n@fXkEe|Vw@(rWtfl|NyPY%iZL@&pm=ws"
    "cWt>smsm}?<oe@%zW2V*`@GNRy*E#AyDE0+yntjVzy#wBdXnQ9=m>CtmD&nfC)^7;LexGJZ!HNL3BYpDM{+bnaL@UHvF2f;(@U}}bVI-xL!r2|$PGv?zyN|G"
    "eSmF#B;KxCBoMk$5*R!T>4Jdb2nS8GT!O=hk9GmC^f%8*a<b=IKsl9qix0;FkB{$^Z7%gLR_R%q;ed;PuKh`NX<BPM4vqnU5IrFLBt!b7k?*DgKC#K`<!ypY"
    "3Y^*;|8<uj5^St&+$42xfc!j34$>3>DVLvP<e6xp3Tk1#)Q{)}q};SD$>$|%sEK__!4d~c5Xo!oAXz}P1L$cL!r_u6x{o1r+n#Tn4tI~Od1_S|Ya_lGwiWOB"
    "JN(ehm=r2L>cB%Y5GaSzAlnIwkCw8kI6)<^%=V?bV_^qSRu#H{n+$k`ymfQUrA_jbQiK}lf^sSfYQotHy)Fh&iGB)?sfFMRft*jdq(Qwj%kqztlm{fo(LQ=<"
    "7S%lVJF4f7s!}dV#Ai%uKI#te-6v?(3%5qN<D%7!uyASJ7PNW7dZ%;S!1}#B;ZB-zK_TOkUB_3cRP_@lHq<rmWz(fVQLG0(Q=v0?eRV00E6!XWdtBgusii7l"
    "d16`tzr~PLvWw?cTC97#2=COR*iJo$o_%@%{cxxW_ge$f7$PRgoE8WO^7sOtbQ!{`B=f><A)75p0E-DN8#l`_<x^AGG~GlSaPpgE!VVA$WkBA>p6XrJca8dp"
    "fBJ`!*KVx0Rb0IuzP7gBTKV4e${|mkee!-jv>QFO;jq1HeNnEF*QHY7t^9pjrAn6q%af;g{cGf1J`lxUeLIQ?-!1kzjGmvvUbjclzWHdbk~es$^?2lb#9(ch"
    "9kvd<c_mWDRakFNOpWZG{A}frr^!BfpZ-SJzni{@mKQQPMqb^SftR+9H}%##_BEtSfu+e)XZ@Ym|Dp;j@0i3-`}<J-8=W26fdvMu@pdkltK`)TmRf9$Q%A$?"
    "lUr-Qg_NzjzdO9+mA9<hcFwOH^0e6}??`Ql{iDk#?AOOza`dz*y!+CnKxU`S?7j2O?Hj}1__`NA_(BP`>%qs-{`_^gDcXs>KNHGT@-Fp!5V0P6v@7Cfg5f6g"
    "9cxdtG5qCEqgLIhY2}cYmwocC{4s+z`561Ng}>$+d58IvW_j$inJxwX_tWOOBlxki4cNtB4A||@Io$aDHLP>)6nZXvGe^loh7U4VM=sp=vJEfUQhRI47g>Ab"
    "&)g&qS;QN%Ja0&xw>#ntu^&G^VgKvay_xcbDDjm6S4f<zJLU;#c)<5bgQ4%F(!!?a2vIsWF2fI!5j_arUv~z-@Ku5R=8qb@cc=sXX4^ggEj3SMMve3q%@az-"
    "k|{q{ah0sa3*~FY60BYXj&;%r&XqNr%#~H<s!it2^(J$Lxzb{(+F~{fzfG1(bCvnY>W%d#ON&(E70b<po1uLK*#;QWleUg4R=#Cpb%sIGi#1@9@c=F{0#ets"
    "V-Fu5*am{iAzAI?L4-9d?dJRp?T9zuFEseb{e);1eM<?CqSFbH*YVS3`IJtqI%|c3a_Aq*lc=c"
)
"""XGBClassifier of three classes over an array of two columns."""

XGBOOST_MANY = _unpacked(
    "c-rk&U2Eeo5d1HCc8o1Kah-Snic*APuU#Fsl#`U+N63G_k?geT9TW~)j)RhzWJmJs?9M*ynN6geA;<P-rb2M~a0=uRT{1S13MWU>s5wISOpU}crcGyOVh=AD"
    "!jI!}L7RXJ!(>&6=c7}-CKKerS|64qv+Ze$e>xRn9!93at2b<(#u+d91@+bi>ZR_##~7-{LvTbg@yMfcYK|=CG^b#ifW`}K&q`>CcnrbDDu&lJbf}=Mk=pdf"
    "08RHr#<L2k60bIcO<0-XS<$HF%nr(v{6>0wOyV{?7d02WD%(wy@w^aqS&4R2W}7DGLKF=G4hB?8qjj3rl3rqIP{p6<>kix==%3f?Jq_wK1v$|Wl3siO>z?h4"
    "j73y-k9z7I85~1X{Nlo7y~l|%V`8du&dXh~ZBcGp#0PiK$TdALtGc=qyQ*IKU9A3=nLji8<D_w9O|N5r7xogwZ?tB42TtfN$+?!X;Bl^QL3sH{-fNW-w>;bB"
    "9Q<W2?pl5|@YP6QMhN2r^NV#D)+qzRS7h~o3B<9%XsH_H6LrD5G)0$7_Wzh)ewzQ`=5O<DRf?+JR7hWmZCw;~s&AL0Uqw^>8|(RBSPxs8vT5p%wEnH$e0u-B"
    "-iuG~-`o4RY{b<E;j(kY^<iC?eqTS*koeA~9QOh(K-tUB12UxjM-I-;Qaxe+7;o2;Zc^UADK;oKQb+(K*uxjd)K8S^T?9HB_x|e%9`@uMO2{H4lkv|YeWxb0"
    "%KCMj*E&H7O&<24!2-Kb@o@PCAzvwQ"
)
"""A regression of two numbers."""

LIGHTGBM = _unpacked(
    "c-oy+-EQ+X487M=2)$kek)r+r_$_u<6o%?3i8jX$Y&Yw-rytccP5L$Kek{N+j%b=Z=TKgzoW&_ma~X%`L}GY3v|XR(xq-Lmh4<TIp4zhHDJ?Y$M4z5>-<DyM"
    "UmGnB>9yVFw7g8YEt}T{#rXVN?v`@O&2t&j^h3^NcNoiN4dN0wq(h#Yw9B##-FV3I*r(xRw+!2HZXO}5eSDISMrrM$2EHLi?G3JDq^Q6f3gC1E@9mRZ!5Y?D"
    "yp=qcKRLg(B*}p!8-@6laW1!Z)#r5L?e})m!ti|T%W~<X(UR9Ywo7GbP-}@Q5Q5JuAn6roONO7VSoTw%_hY|lNGq#vFE26v1o6A@83GcU+?6UpyZkuj1|=`i"
    "=k3yV`@(sFdy^{^Q`zk=7|NBAE8?)UZBMCx$<0bDVkS&*)&`0mC`8F%B&*2<<1Jsr0rE?vy&HE<{ztB#ZM>r3D8@>CG^hheM8(urtR{)h7-<#f#Tw<ncn6WG"
    "(l)q?SoF~V;5ltKz6?uatYju7dTER(1G{WU{k5OK^g#Tm_u7uX2EW%wsC<xM6gmiRyhFfi)cJE&M~560M48*Z3^`3z{ryyi-`S4r?suoaty9c*PPz37Sfgw("
    "|K1<Y|Faoxt?<<d447LN=t=;B=IH?9M<1cG#w`cOnnW;w$Tqx#;U~d?lp_uxqM*IDND_iFq=UD<>f(6G$jYF%F?tt+(Jr`Kd6{ee{H<Ca(sHwboH<+cT**C6"
    "$zipJ3SitlHUC~p&Uz6O|DTv>DgzP}&%KUy@c-+ue=la8>rYy)@T-_eV4*sL4F%}@nJyEMPeaxK5e<*xoxo3GhS~`sI-YkjM3GBzN;3$=+<OZ=!_q0|!I3t`"
    "Sui|6^z*D59<BRog3%$^k3zm`3Ci#>A;Bs>J>dRiek)}jHgep`dce=(`m;D3$7xAJm*=&p!Cr`Cn)nC9`5C&rcE#%cut{_EK;Dg0=~BObe0+FLbLk#_kq^gd"
    "e0X{ie*wsy0b2"
)
"""LGBMClassifier of two classes over age, income and plan, a text column; LightGBM 4, without its parameters."""

CATBOOST = _unpacked(
    "c-rk*O{g7L9Y3!rZ3v;XrIw;WuG0#ozP#SK-}h3@%S&t%o5awUwAdJ?XJ*daJ9+cfGc)(S+w?&ZSFT*RC?ZrWh`7;B7lM#36cNFNXb~xbP$|-dBE^L+p1=P&XXeg"
    "(X_|_<5FD60Gv|NK|NOr{&ONnp-ah;Z#vWkRb%fo^?qrAAQM@s>iu;ETF^n*FH}3ZzWb7F3;y%WHd_QB4VC+?Ve-GdIWKTxiErUSF{Cw(*$eG)Wo%z$=-snD!<1s"
    "w1TfQiG7zy9WWE$Ybngl$`#j53|X<mfM)Jd}<Oq1N2T(@F{D4)qN*>dQ^npmd*D|k{^s}|3IWXDMpCn%%HnT2_g%0-PaNF(2gMB>C{RD@X+3TaI`W;_!zE(=auIc"
    "}7CTh^q#YGt57$S{>o&SR`drZ>}9EHa|wV#LD)M1)wt4aMEn{Uie*6yDT#yfg{IDRH&U!@_AU>tKe#dLc~&kb;rS$>uyNY5lI*-3eqGJA96n)1}~=oOo#o$xM2yR"
    "wTGgh+IR%T7Q?=OCu*H4J1L@6m-F-^xVZ9fMw{Z(bT;ryds<nM-Qr*n$C0SG)nUvq-I?5xLPbg@<*QRm0&Y=>J6`4)!TEQ7o6r`3J24I7o`+Vy_TedZw{5`A+#hM"
    "uaLDk@D8Q(K+D33!Z?IP>`|{b81{PYVRzUb_xtw1?nBJ=a@zj7TI+@hm*GoFp0t^pN?*uIvb4&K80Ib~VUWt$0<{H~Q&HRw!$Ab+!{qZxA=7L@I5K5@0;U!l1h5I"
    "qj1!et+N<`})hke_dfNECs<}4!HWc<8$o_4HJ{mFmw?9RA;c2@xtlu4vM;_^Umim~nxfN!YfE0*e?anMMoS5%GmoEwBpY%Zpy_B@G6BY|4HGC2)%4Ywsvj3LK{v!"
    "ebpz>O+DCO@_I-OEPio{$*WCsZUDvp!CQ$FxSo*&2n;WUA-`xQDBB@n@*bQu`(+YsC7BOLl-u8pj8bFfFY=0IeQTZTvmu8}_?F<q-x!jmfBoL5nPKf6y!A^Zix+G"
    "eSQKI6FqfiGh+ZI>fp<p@(!@`V#7J}jBiiFG#dLvTv@D~i%>N(>0?NS-8=#(G}_9Er<OSpcD*dn&{e)fzQL^-*U`*QndI+k^2Kmf=M_&z*$FN?4Q!<~pPBg$2=x*"
    "cHA{QvP6pe-NC;4K;-F-071*`1FMf)>Tp~(K?lBnKhJT*ih-9qFg0HMIBUTbko+$DPC`f5LWJ`vYB*wS)`8UXj_ESS&=VuWM!#JGu9+Q2|&4Bdcr9aWLUK}<DpzG"
    "HCPL=Q{006I@#QUdAx^;8yK8uh<PJ?3fT!%JqL0~&b9p`^eNNAob)+@6zP^oV1Kf)d^6*ofH+rgh5tj)Uf{^k8+?I@x4};NwTWKw1H+Joqn0@#h37WKWzQ?66bWP"
    "r6NTZs&=&!1G9|=s2X#_rCX2*((!kjUi3U%WMxnP*ww?<~F0RLw=T}aoSgKd&2nA}t0~jb-VAd4Ub&RI1j-``C&C9|h535h^Yc;rBXr7FENWTAr{M!FAziO}Dede"
    "H)os@8IsrSURzr6O1?^FzmIHN?XHZ#+V6D)~4N5SM|em1unnDvg@#wx~%Wo?`a6UHwmTS>Z|G&}@#GSy~^!xqLPo=i&=wkF0$BBl)Xk`9{0WR8Ly{to6vVTP2lJf"
    "1fum98S8LG>n}k+`II#sooyBr3={`7Tb^lqeTD5O0VWmC>3>$9b_t53<ZTI=^9AP$piLhd#XgEs#VURi*>^%}ozwC@H3@bO+U@9YHh|FP1PIV(g-jmw<%Q6S;p#N"
    "sFVH-l-PaZGG9jaoa}8i{gqRtY}b)<PYf)jyO%yf(kN~kR*D9BG*;8DyNqv#j=vSAhxl>GWkwnR;3;q2i;T|JMFhkUPYeRZYX9E>*C*V5r>JRYJo6ODM1w)k|#d8"
    "1W+WBX)#k{w4DfCmC@bO+Y&^n-R@A|)6vzxl0a8AP6ct3Dbdbz4baJgiUE?V&ZI_E_PEm?cgA%`cK+E-OJ%u?HaF#|%Bp$QXzde@%e^h^=WS`5Jee%c#&D#$h;^|"
    "e^SI`r&U?C(ZDh_&BpgkvP!>Vfr+cwwGt_{Cx*(MK5?JOpPcWd`s;}=hHi61T5QJVRRCTwzl)BPs-J8moN6&@DOf~qMQ0-~qNx^ec-a$Du8(f>5S5-rG%|`7o%%E"
    "tN2dW;=x9YO=;$@3!J$T)+_tQ1gwhUD-PA3R?qiU*jbifrGE{NvYO>^Cq?`z!~Ory9{@O*)&AMfjvXJFT_D@zhQ`p0dE1Z_;NsuT5GD|SfN3FK69qodH7G_L_!Ds"
    ">42efbUreABF2*6uE2cQM8^-;90z?|XY~rq59x#@*$%;G-ZoKJ*5?(P+$%4}CEZ!uF02+q~@$xTnr=bS#;cq0iW_f#ZFH<6TB)F^yJV#UaOq{v07?Dru||8U>Qxz"
    "#jBE?P0G!>Wv3vAqCAf7?wvbI&u@Pn?d_9c1QLY1#5de7!1dQ(XdOoxdHE>utm>4?AfD^-5HHL2jDkRbk&g5<lzbmRCXA=s&EDc&?(p3|Jd7GKcwYgA0jzWp#-Um"
    "9XMKO+_Y&YMU4{G0Xg+@V6DjKn0+mW#cP<y3w>Bq?YTxka(t0fIj>cskG^!QCs^uLLsnHblVusoEM+5_HNB)RkUzv7GBi%QE-*HD#d?NsKM5}`BmOLpR6U8<h;R!"
    ">NO;sBAuWrnEMVwS87I1kRFU#5l`#9UtXk((?*eRj!n2(Ed4&;NSd#&Ted>)6?1G|_U-fOor>HP~@}!Os2%2yYo~WY2oE09Fuo+&XValhR@<%9}Q|O?}s!Xz}!p4"
    "XpqS9C8?+t0xe3_x8rL1{w1*Cb%3Qql9>A`56qNnPgP8s4hsBKkESr97e@2l<A@ke#8XL`}orVpu3>F5+Qq)cqr8mn7bqFdvw&QflPY-v{xrC=&dbkJ6MLBfQlWi"
    "1YbCUy^Qv!Rg|W4*n-y~4y7q2kNU&E9RAQw>JjX1Za0aAJnlSRG9Z)h7}yM{(;JRkUR6P0;d)p@q)3JMGTkxNRTrj4#>aNvA*QkDjM__f@e0+$CW?Q(Zj9=nR}r!"
    "YOvlRy3aH@q8*QT4Yj_BQ0E~(iri2(sFIr@9=>?9Cqxn7<IVKy}%QG;Cb#y41$4Y3(+3+)S?Y!8E-ae(UI%pb9=3WDop`SmZ+-aq{X*pGR@L?>xrFPT%S|(H%k=A"
    "axrPao;JvyT2e%mj9VJ%TFX=PIWwNmCc#Lw+uf0CkNf?;-yQI=%ZKjBb_c_5yVLKv-F|00X!{EFG%Swi^Q6J*IS%}%W+>5x-+D&OCoR-S-S((|<j5C`nUIaC8+4@"
    "7azU7>`CEuxQh_d|Su2-b3r;#|J&w1>D@R4L`WWf4@>_)8TvZW3%N}EA%>NSiLYoh<W30s<VUMy^)@D66QvY2%!PePn%w%kZzVP!X?gwzckNf2nt;ZK|e+zKRr59"
    "K9e;8k0(eGqOEj-VxXdKP!X#F-`-v@YQU4OsH&G<3%?Ca+%PwVIURWokBS!+L@b-kYU`RkX4uUfDD@k9mMR@b{HuD$T*S3myS_ijA=Bl*+ycYk%_jhBCE|NOn*-M"
    "IUkPh9^>@XiTay#BS%4Bol%i~HaH+a0g}{>0Bd9em-f@BXI7^Qmj!zx?gb{^7<U^L>Z$k3;6Yy6-YiW?*+3nI1AQ^GZW^8c|iKKJX&ox|#46{Bp%Ce!z?o&M<+k3"
    "O)YSV?Q`e5k|wc*6(THySG6%+C{VRPfjxS;09x##BFV?n0ZHmMPs<Tp~EG?bZ2NhY3!fxD83Q"
)
"""CatBoostClassifier of leave and stay; CatBoost 1.2.10."""

KERAS_IMAGES = _unpacked(
    "c-rk(+fLg+5d9UDXNsHz2<cl@q^eRYRi%9?LaT{Ab{5vVW-oz&^6#Bl+ri`psHhcEqdX*Y#&bD4GdsTTl_m=cd++ypS7^cY_V;?J0_TK=GK$aeI-vFvRK$$V"
    "WkK@$UaR09DR>J~!z7yYHXw;IKd&%8@}#rVAEf%tD4EW;c*~UmKOFQH1Y0bm^Jp<^4d|d00d5K`G?PnAy^t9p{lg>~k4OEZ(ReT%9`oZ0=4c&Z=WCH2G}u~z"
    "pLG@d7Y0}2n}AQJf*i+G&+9-=;&*t_Az_&ShgpGjEX+YUX39cQVAc_|ZY8@Fs`YCsFO4R`8_n%x5c2%wzN1S)NnLE=-gfbSf6$C@K>R;BNRr`r&_6mpIUbA-"
    "kCO2T^OWZfeGTs{m`RW-6P+k(!nYjf;zg`}G<r5T-I8U>VD`ouCzs0Coio^v5ouJy$-79^uqk-wt;{gCSAT!6&!P&ljH`#DnNc0Zv@`G^a$`&Ik&h{8vgWAP"
    "osYOwz{M^sc<dT0tO*sHCqWNVFK1DYjZldq#6}4Y#YBR8;IxTWYRMCeVz!$IKIq^Z*#4x9HU6iT9QX>~4r2#5gw}Ngw~>fOW`bW4?yhl8;12`-h1R&of$sL%"
    "&_oJBfo;6D&BF0)MB*_>Ki`ZtHYo%bi`}o7Tm$}D%hLHyKz*2zQbAp1c;;<w;UX#vsI^7asK2$QeyS0#5UWg<?v?MHQ`B??Zq6=iu{T6xpgv@dhHF#FncSCf"
    "`+qF`^|AEg!9&1x0NQEq>bqwd-YZR|0nMX}rS|T@^@=kv5?xkOVfPtcCd;h{xI{PYi(k(wYpQMAVkuk;E4q(0O~v*W=XI^0)StuA;g~kIK6lIw%3|t8hAGS+"
    "(oB`CG?(;J(#+g-fF-nBgbqpEY*<2PtEPXVG$p;Xgfa#*9yd}$L;S`{k0Q76wI=O^p$z377fz8=Ynx7m6&5l{_5`G9C_}Td(3w@82D4LBd!yfv+$Ze4a#F=X"
    "(Z_emh*Kd2KJ#Y{+!$P(GVz^4q{MS!tW23DYBER0=q%y@jCs^dccLqi7Phn_s5Qvb8e)SMNOzr8^A4*qTT!7Ec#COh#vX5Hm(q)-@S2IYSo{Wokjua"
)
"""config.json of a Keras 3 network for images of 8 × 8, three classes by softmax."""

KERAS_NUMBERS = _unpacked(
    "c-p;I+in^$5dD>iXM%PE38Jr!T2*SLs+X5W$nqMqIPuyWUy=~SzjwxKz_37QQHwx=x$MjtpE-EZsr1B4-g$S?dEkcHo;9ooHZE;%>J@WBD=ItPiw=|2TB2wb"
    "f<J8gw3><%?2FDSV3SO83~`1EMT=0%8PCBa>6{x2zwZ{UHlnXp_mir<`;5+=x&?J?M(m8%7<Z?<l--M~F$7KAylz^On!5fKCfb@Bi^eIH7JD(YEcqlctO_b$"
    "6|oatN5nB|iFv#f)^Wops}`He`|^b<v{w)a;|;LK@PvN_eQ-YXN*n&yxL3(%f_|?RqmC>193UFoj@ZMq)f8G)+vRS5K<HO31)Cq@b)4kkA)tr82n2hXADva<"
    "g`AM2h`=M>oMgh{^{L|c4q<Q2deNb#4Bz1EHc~>u2nb|bZ3x+cd+H)J519czZRQxC5I%$Vco~lSoZ5raYe&+>!edN)c#b1jfZ>m*cMIJeBHaXi2ZilF6AqVp"
    "M$xE?d(IpYxXt+>%SNMNemxvr_4_xN?v-#jiX0gV>ik4;v9X90iqoJg9&i<c+6@}$TyaSRBnv9VE9lQ2XuZV02j@qrjdnkkm}*n)o;MHj6QMLaKwkobqfL9a"
    "V?4fo2;j_ye{rMjcB98@#xX&Fm(;|nt3}6t_IhF#6tRIwZYOD<<Iz*)#A`Ubjd~oP$_Z-IgxzcjOv3Xc;&R@8-<-bR+j_TJ^VXJ+*EHH(F<QdZ-O-EjhG(0s"
    "WB^UIy#wC44ZShw)j=^`)k5+#5dUebgM?js_t5p*m+!UF^#Khr6|v}UPEx|EE1^naaE|XTvR;<uS@RkU2czNOI`2c=GZ*E|kqKvXzM&D5qE@)XYfCA00oS~?"
    "11(Qf`h<iiFTA43Z3BLhN>^MtUxj8yqiEGn+&mlMIGGy$=(%D^8&U&$%P0(R3R<R<ohl8T2zVZ$jQI+7E-VThS)E9Vndzol7w;-b`3$SqR>+`?Ils(?2n7Q0"
    "$ltyLEn{=x64d;GgkGCzCLL7V8Nm`m69G?ad5l+t(~=uGPbL=-k(wLAUpVto%Te6#g(Hz(QOB3d-+EN=9{"
)
"""config.json of a Keras 3 network with two inputs of numbers, trained by mse."""

SKLEARN_1_3 = _unpacked(
    "c-n<k&u<$=6t*2ZanhtoS_1vuLMaWEV$n22MNlP`K`m_MqNW_nFy0+|mhSE>yR%6nfdoQL95GTQI{XDlMdA!c)FJ}(P$VQIF5HlS14#V3aR9zquN|jtz|vYX"
    "vv0ol-uJ%u_RZpZBZIm0r^e#T9-~oE3Ehx+ZosrEzt~w`*N?xY-_Vn)6iXJy`VyAow(t@^kP!{yhKPI?X?3^*VhcYMF{_Za5!qxlUQG`#_MCMc4EI<XKWan-"
    "j0?#ETR7(O!ET%p3nO8(ICg_(g=7XXZk!L;Ss|axZgioCY${n(L@t9-ktR}T)gOm6ijnJ(12kqV93Zq$iAZFaNZnE;M=po3Dg}ujE^9T=@C22!GXPiHISm|-"
    "ktDbrh@}8VEQ$moEjp11bxn=<Za^9ldo4kX%Q)EX(<`JWn3|esFe;OXk%0OPocVRI4v2nR1TfTUjAUt(MdauT<K}qfL}gkhb&ymHJsN1bs;L@`m`~jx<!bL1"
    "Tsc%y1il~<IgOkJn|i%O4KBHo6Q2RHrON3hmJZfMTOj)uKf)hN>QGFZCCMWebKyDq%-lC8(x2)N$g84mQrp>6P_o3_CYR=T0D07*5WS{$XG_vcLTt!~%kj;J"
    "U{b4zv<lEz#43K`NtZ?uMOB6gDky?jMu{zv4&SQ=OoHa+b#3LY>T15OSM>!wY2~fHtHvO!Eb3S|e^Rft+Hd<*{&iie)n51qzx2<Vle)fUbl*ptP(r^8dHGE9"
    "Nro3{d(er#9U~CRnf8r}`BAF&_cj5M0(KA={v8*EF~sxHOWG<>ehhA`oRw#Z+D0~j4d@WrC@(+8EBxXr3b{$H1eES=3kgmdu7spXNaGlF5=oQ8lN#ymGGf}9"
    "kMbSu^79G)Ab*JO;=5aX58uxZ@PqtNjXzxDkJR{K{;1lCm@_#`v>mN`=$SQMv-12Tf0~~%MDw{0&3SCjfH*!$4N==RbZ`9LYhTFhF>C5Hc5SWtAYE-(rfL^4"
    "Jw;sS3ZV@N8k<Ndgr=dW!R{+;#(H=&yqF>wYE$L%qpOCzsVv_oTKss6Pq*$DeK#6z@pC2yq*+j-0g0&}dcckuL%I1=m?Y>TYPyI&s|xNWEj@FWmT~~9mT$Kw"
    "Z%(hkPL)i*ku3-TVxtF<zkM&>T6HXKz3TJxpZ_#Z-v8sHd2I+UF4AZ#*lW1-)tx(c)ZcRci<9>H`n6Y1r<c-X*neHS`Fr2Tzbs78e|cp0ca72qsjrM(NRp}1"
    "OpKYlNn78lTu)pyESdtJ5)W_E#<U7GgO8frunJZ&-6U<a6|Hu7qUpxcwIkMy%m_2n??7j?neP)a^fBwb3h9{Q*12qXVdGYJ!VQGbttT-v3f{Dt)Cu*_Hhoff"
    "7-D;7zyEn(bxP%{*!-4#A4kwh$OfXbS(r|y?uHn)j0ml~8n!*OS~ln)#9=g=BYX@{=pOt2Sa^$OHkZ75qX`<y=40RjNn4KEmX0%$VraDCtd&zkOEgOFM-p8&"
    "Q&VN{IEkoqg|0!3MO9AC4aZxG=cOm_5|8zORkX^fY$iRV$M8@*i`hEHBeS#Rj!um-27)x$`}xYZeYrFLC)DC-2d!ia*0?X0Ra{AhcId~mFTeBQ()!%YyMKOt"
    "<I4KYZ~xlIbEn2{-Tw6S!mpp`xfEw;qZV5P2B`86yQa>}e^$J;q16>AwclsHi11zJvuo|s%D=9)la&"
)
"""A pickled pipeline of scikit-learn 1.3.2: a ColumnTransformer over age, income and plan, and a LogisticRegression."""
